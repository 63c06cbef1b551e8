package filter

import (
	"errors"
	"strings"
	"testing"
)

// Errors point at the word, and say what would be right.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		text   string
		column int
		word   string
		reason string
	}{
		{"drop noroute", 6, "noroute", "is it no_route?"},
		{"inner drop too_bg", 12, "too_bg", "is it too_big?"},
		{"drop delivered", 6, "delivered", "say not drop"},
		{"drop not host 1.1.1.1", 6, "not", "want and, or, or the end"},
		{"drop (no_route or )", 19, ")", "want the name of a reason"},
		{"host node-a", 6, "node-a", "names are not looked up"},
		{"tcp prot 80", 5, "prot", "want and, or, or the end"},
		{"tcp port htp", 10, "htp", "is it ftp?"},
		{"tcp AND udp", 5, "AND", "small letters"},
		{"peer 10.0.0.0/8", 14, "/", "say lease"},
		{"peer node-a", 6, "node-a", "names are not looked up"},
		{"lease 10.1", 7, "10.1", "want a whole IPv4 or IPv6 address"},
		{"lease 10.1.0.0/33", 16, "33", "0 to 32"},
		{"vni 16777216", 5, "16777216", "up to 16777215"},
		{"dir up", 5, "up", "want in"},
		{"outer", 6, "", "want a primitive"},
		{"host 10.1.1.1 &&", 17, "", "want a primitive"},
		{"tcp && ||", 8, "||", "want a primitive"},
		{"(tcp", 5, "", "want and, or, or the ) of column 1"},
		{"tcp)", 4, ")", "no parenthesis is open"},
		{"tcp or\tvlan 5", 8, "vlan", "no link layer"},
		{"tcp[13 & 2 != 0", 12, "!=", "want the ] of column 4"},
		{"ip[0:3] = 1", 6, "3", "1, 2 or 4"},
		{"tcp or 80", 8, "80", "want a word that says what this is"},
		{"ip host ::1", 9, "::1", "ip does not go with"},
		{"src 10.0.0.0/8", 5, "10.0.0.0", "say net"},
		{"net 10.1.0.0/8", 5, "10.1.0.0", "behind the mask"},
		{"tcp;", 4, ";", "not part of the language"},
		{"less 4294967296", 6, "4294967296", "32 bits"},
		{"less 08", 6, "08", "octal"},
		{"host 1:2:3", 6, "1:2:3", "not an IPv6 address"},
		{"udp port ssh", 10, "ssh", "not one of udp"},
		{"icmp port 80", 11, "80", "icmp has no ports"},
	} {
		_, err := Compile(tt.text)
		var e *SyntaxError
		switch {
		case !errors.As(err, &e):
			t.Errorf("%q: %v", tt.text, err)
		case e.Column != tt.column || e.Word != tt.word || !strings.Contains(e.Reason, tt.reason):
			t.Errorf("%q: %v", tt.text, err)
		}
	}
}
