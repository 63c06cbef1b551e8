package doctor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"weft/engine/control"
)

// gone stands where a secret was.
const gone = "REDACTED"

// A rule takes one kind of secret out of a text.
type rule struct {
	what string
	find *regexp.Regexp
	put  string // in the place of what was found; ${1} is what stays of it
}

// secret is the name of something that is to be kept, with what may stand in
// front of it in a name.
const secret = `[\w.\-]*(?:pass(?:word|wd|phrase)?|secret|token|psk|pre[_-]?shared[_-]?key|priv(?:ate)?[_-]?key|api[_-]?key|credential|auth(?:orization)?)s?`

// rules run in this order: first what spans lines, last what is told by its shape
// alone.
var rules = []rule{
	{"PEM blocks", regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)`), gone + " PEM block"},
	{"users and passwords in URLs", regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.\-]*:/{2})[^\s"'<>]*@`), "${1}" + gone + "@"},
	{"credentials of HTTP", regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)[a-z0-9._~+/\-]+=*`), "${1}" + gone},
	{"values of JSON keys that name a secret", regexp.MustCompile(`(?i)("` + secret + `"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|\{[^}]*\}?|\[[^\]]*\]?|[^\s,}\]]+)`), `${1}"` + gone + `"`},
	{"values of settings and flags that name a secret", regexp.MustCompile(`(?im)((?:^|[^\w.\-])-{0,2}` + secret + `[ \t]*[=:][ \t]*)(?:"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s,;&]+)`), "${1}" + gone},
	{"values of flags behind a space", regexp.MustCompile(`(?i)(--?` + secret + `[ \t]+)[^\s\-]\S*`), "${1}" + gone},
	{"JSON web tokens", regexp.MustCompile(`\beyJ[\w\-]+\.[\w\-]+\.[\w\-]*`), gone},
	{"keys of 32 bytes in hexadecimal", regexp.MustCompile(`\b[0-9a-fA-F]{64}\b`), gone},
}

// keys are 32 bytes in base64, as WireGuard writes them. Public ones look the
// same as private ones.
var keys = regexp.MustCompile(`[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=`)

// redact takes secrets out of a text. It would rather take too much.
func redact(text []byte) []byte {
	for _, r := range rules {
		text = r.find.ReplaceAll(text, []byte(r.put))
	}
	return keys.ReplaceAllFunc(text, fingerprint)
}

// fingerprint replaces a key by what lets two be compared: that a lease and a
// peer have the same. 32 bits of a hash tell nothing of 256 random ones.
func fingerprint(match []byte) []byte {
	key, err := base64.StdEncoding.DecodeString(string(match))
	if err != nil {
		return []byte(gone)
	}
	sum := sha256.Sum256(key)
	return fmt.Appendf(nil, "%s-key-%x", gone, sum[:4])
}

// redactJSON takes secrets out of the strings of a JSON text, one by one, so that
// neither an escape hides a secret nor a rule breaks the text. What it writes is
// indented, and the keys of objects are in order of names.
func redactJSON(text []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(walk(v), "", "  ")
	return append(out, '\n'), err
}

var secretName = regexp.MustCompile(`(?i)^` + secret + `$`)

// walk returns v without secrets; it may change v.
func walk(v any) any {
	switch v := v.(type) {
	case string:
		return string(redact([]byte(v)))
	case []any:
		for i := range v {
			v[i] = walk(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			if secretName.MatchString(name) {
				inner = gone
			}
			out[string(redact([]byte(name)))] = walk(inner)
		}
		return out
	}
	return v
}

// redactReport takes secrets out of a report text by text, while lines end where
// they end: the table writes each as one.
func redactReport(r control.Report) control.Report {
	r.Checks = slices.Clone(r.Checks)
	for i := range r.Checks {
		c := &r.Checks[i]
		for _, text := range []*string{&c.Peer, &c.Text, &c.Cause, &c.Fix} {
			*text = string(redact([]byte(*text)))
		}
	}
	return r
}
