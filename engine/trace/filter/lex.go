package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxText is the longest text that is compiled, in bytes.
const maxText = 64 << 10

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokNumber           // num
	tokIPv4             // two to four decimal numbers with dots
	tokIPv6             // addr
	tokMAC              // an Ethernet address
	tokName             // none of the language's words, or one behind a backslash
	tokWord             // one of the language's words
	tokSign             // text is the sign
)

// A token is a piece of the text.
type token struct {
	kind tokenKind
	raw  string // as it is in the expression
	text string // the same word or sign for all spellings
	col  int    // bytes before it, plus one
	num  uint32
	addr netip.Addr
	pair int // of "(": the index of its ")", or 0 if it has none
}

func (t *token) is(word string) bool {
	return (t.kind == tokWord || t.kind == tokSign) && t.text == word
}

// lex cuts text into tokens, the last of which is tokEnd. As in pcap-filter's
// scanner the longest match wins: "80-90" is one word, not a subtraction.
func lex(text string) ([]token, error) {
	if len(text) > maxText {
		return nil, &SyntaxError{maxText + 1, "", fmt.Sprintf("%d bytes are more than %d", len(text), maxText)}
	}
	var toks []token
	var open []int
	for at := 0; ; {
		at += len(text[at:]) - len(strings.TrimLeft(text[at:], " \t\r\n"))
		if at == len(text) {
			return append(toks, token{kind: tokEnd, col: at + 1}), nil
		}
		tok := token{col: at + 1}
		n, err := tok.scan(text[at:])
		tok.raw = text[at : at+n]
		if err != nil {
			return nil, tok.errorf("%v", err)
		}
		switch {
		case tok.is("("):
			open = append(open, len(toks))
		case tok.is(")") && len(open) > 0:
			toks[open[len(open)-1]].pair = len(toks)
			open = open[:len(open)-1]
		}
		toks = append(toks, tok)
		at += n
	}
}

// scan reads the token that s begins with and returns its length. The length is
// that of the offending text if there is an error.
func (t *token) scan(s string) (int, error) {
	if n := span(s, isHexColonDot); strings.Count(s[:n], ":") > 1 {
		return n, t.colons(s[:n])
	}
	if isAlnum(s[0]) {
		n := len(strings.TrimRight(s[:span(s, isNameByte)], "-_"))
		return n, t.word(s[:n])
	}
	if s[0] == '\\' {
		n := 1 + span(s[1:], func(c byte) bool { return strings.IndexByte(" !()\n\t", c) < 0 })
		if n == 1 {
			return 1, errors.New("a name must follow the backslash")
		}
		t.kind, t.text = tokName, s[1:n]
		return n, nil
	}
	return t.sign(s)
}

var longSigns = map[string]string{
	">=": ">=", "<=": "<=", "!=": "!=", "==": "=", "<<": "<<", ">>": ">>", "&&": "and", "||": "or",
}

func (t *token) sign(s string) (int, error) {
	t.kind = tokSign
	if len(s) > 1 && longSigns[s[:2]] != "" {
		t.text = longSigns[s[:2]]
		return 2, nil
	}
	if strings.IndexByte("+-*/%:[]!<>()&|^=", s[0]) < 0 {
		return 1, errors.New("this character is not part of the language")
	}
	t.text = s[:1]
	return 1, nil
}

// colons takes what has colons in it: an IPv6 or an Ethernet address.
func (t *token) colons(s string) error {
	t.text = s
	if addr, err := netip.ParseAddr(s); err == nil {
		t.kind, t.addr = tokIPv6, addr
		return nil
	}
	t.kind = tokMAC
	if strings.Count(s, ":") != 5 {
		return errors.New("this is not an IPv6 address")
	}
	return nil
}

// word takes what begins with a letter or a digit.
func (t *token) word(s string) (err error) {
	t.text = s
	switch {
	case isNumber(s):
		t.kind = tokNumber
		t.num, err = parseNumber(s)
		return err
	case isDotted(s):
		t.kind = tokIPv4
	case strings.Count(s, "-") == 5 && isMAC(s):
		t.kind = tokMAC
	case s == "not":
		t.kind, t.text = tokSign, "!"
	case constants[s] != nil:
		t.kind, t.num = tokNumber, *constants[s]
	case isKeyword(s):
		t.kind = tokWord
	default:
		t.kind = tokName
	}
	return nil
}

// parseNumber reads a decimal number, an octal one that begins with 0 or a
// hexadecimal one that begins with 0x.
func parseNumber(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("the number does not fit 32 bits")
	case err != nil:
		return 0, errors.New("a number that begins with 0 is octal; this one has other digits in it")
	}
	return uint32(n), nil
}

// isNumber tells whether s has a number's form, be it a good number or not.
func isNumber(s string) bool {
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		return span(s[2:], isHex) == len(s)-2
	}
	return span(s, isDigit) == len(s)
}

func isDotted(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if p == "" || span(p, isDigit) != len(p) {
			return false
		}
	}
	return 2 <= len(parts) && len(parts) <= 4
}

func isMAC(s string) bool {
	for _, p := range strings.Split(s, "-") {
		if len(p) < 1 || len(p) > 2 || span(p, isHex) != len(p) {
			return false
		}
	}
	return true
}

// span counts the bytes at the beginning of s that are in a class.
func span(s string, in func(byte) bool) int {
	for i := range len(s) {
		if !in(s[i]) {
			return i
		}
	}
	return len(s)
}

func isDigit(c byte) bool       { return '0' <= c && c <= '9' }
func isHex(c byte) bool         { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
func isAlnum(c byte) bool       { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }
func isNameByte(c byte) bool    { return isAlnum(c) || c == '-' || c == '_' || c == '.' }
func isHexColonDot(c byte) bool { return isHex(c) || c == ':' || c == '.' }
