package encap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A kernel that sends with a mark writes 88, and the mark's low 16 bits into
// bytes 2 and 3; without a mark it sends the plain header.
func TestPolicy(t *testing.T) {
	d := fromA(tcp4.with(20, 1).build())
	gbp := withGBP(vtepB, "any")
	for _, c := range []struct {
		name  string
		v     *VXLAN
		d     []byte
		id    uint16
		flags PolicyFlags
	}{
		{"plain", gbp, d, 0, 0},
		{"a mark of 0x1234", gbp, set(d, 0, 0x88, 0, 0x12, 0x34), 0x1234, 0},
		{"do not learn", gbp, set(d, 0, 0x88, 0x40, 0, 7), 7, PolicyDontLearn},
		{"applied", gbp, set(d, 0, 0x88, 0x08, 0, 7), 7, PolicyApplied},
		{"every bit", gbp, set(d, 0, 0xff, 0xff, 0xff, 0xff), 0xffff, PolicyDontLearn | PolicyApplied},
		{"every bit but D and A", gbp, set(d, 0, 0x88, 0xb7, 0, 0), 0, 0},
		{"an ID without G", gbp, set(d, 1, 0x48, 0x12, 0x34), 0, 0},
		{"GBP off", vtepB, set(d, 0, 0x88, 0x48, 0x12, 0x34), 0, 0},
		{"four bytes", gbp, []byte{0x88, 0, 0x12, 0x34}, 0x1234, 0},
		{"three bytes", gbp, []byte{0x88, 0, 0x12}, 0, 0},
		{"nothing", gbp, nil, 0, 0},
	} {
		if id, flags := c.v.Policy(c.d); id != c.id || flags != c.flags {
			t.Errorf("%s: %#x, %#x; want %#x, %#x", c.name, id, flags, c.id, c.flags)
		}
	}
}

func TestPolicyIsChecked(t *testing.T) {
	d := fromA(tcp4.with(20, 1).build())
	marked := func(id uint16) []byte { return set(d, 0, 0x88, 0, byte(id>>8), byte(id)) }
	off := *withGBP(vtepB, "7")
	off.GBP = false
	for _, c := range []struct {
		name string
		v    *VXLAN
		d    []byte
		want Drop
	}{
		{"accepted", withGBP(vtepB, "7"), marked(7), Delivered},
		{"not accepted", withGBP(vtepB, "7"), marked(8), VXLANPolicy},
		{"not accepted, although applied", withGBP(vtepB, "7"), set(marked(8), 1, 0x08), VXLANPolicy},
		{"none, and 0 is not accepted", withGBP(vtepB, "7"), d, VXLANPolicy},
		{"none, and 0 is accepted", withGBP(vtepB, "0"), d, Delivered},
		{"an ID without G is none", withGBP(vtepB, "7"), set(d, 3, 7), VXLANPolicy},
		{"any", withGBP(vtepB, "any"), marked(0xffff), Delivered},
		{"GBP off: the header is wrong first", &off, marked(7), VXLANHeader},
		{"GBP off: no check", &off, d, Delivered},
		{"not accepted, and for another: that first", withGBP(vtepB, "7"), set(marked(8), atDst, 2), VXLANMAC},
	} {
		if got := deliver(c.v, c.d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParsePolicies(t *testing.T) {
	for _, c := range []struct {
		text, canonical string
		in, out         []uint16
	}{
		{"any", "any", []uint16{0, 1, 0xffff}, nil},
		{" any ", "any", []uint16{9}, nil},
		{"0", "0", []uint16{0}, []uint16{1, 64, 0xffff}},
		{"65535", "65535", []uint16{0xffff}, []uint16{0, 0xfffe}},
		{"0-65535", "0-65535", []uint16{0, 63, 64, 0xffff}, nil},
		{"7,100-199", "7,100-199", []uint16{7, 100, 150, 199}, []uint16{0, 6, 8, 99, 200}},
		{"0x10-0X1f, 5", "5,16-31", []uint16{5, 16, 31}, []uint16{4, 6, 15, 32}},
		{" 3 - 4 ", "3-4", []uint16{3, 4}, []uint16{2, 5}},
		{"2,1,3,3,2-4", "1-4", []uint16{1, 4}, []uint16{0, 5}},
		{"010", "10", []uint16{10}, []uint16{8}},
		{"9-9,65534-65535", "9,65534-65535", []uint16{9, 0xfffe}, []uint16{0xfffd}},
	} {
		s, err := ParsePolicies(c.text)
		if err != nil || s.String() != c.canonical {
			t.Errorf("%q: %v, %v; want %s", c.text, s, err, c.canonical)
		}
		if (s == nil) != (c.canonical == "any") {
			t.Errorf("%q: nil is %v", c.text, s == nil)
		}
		if again, err := ParsePolicies(s.String()); err != nil || again.String() != c.canonical {
			t.Errorf("%q, read again: %v, %v", c.text, again, err)
		}
		for _, id := range c.in {
			if !s.Has(id) {
				t.Errorf("%q has not %d", c.text, id)
			}
		}
		for _, id := range c.out {
			if s.Has(id) {
				t.Errorf("%q has %d", c.text, id)
			}
		}
	}
}

func TestParsePoliciesNamesWhatIsWrong(t *testing.T) {
	for text, part := range map[string]string{
		"": `""`, "1,": `""`, "1,,2": `""`, "-5": `"-5"`, "5-": `"5-"`, "-": `"-"`, "1-2-3": `"1-2-3"`,
		"65536": `"65536"`, "0,1-65536": `"1-65536"`, "1,70000-3": `"70000-3"`, "0x10000": `"0x10000"`, "4,9-8": `"9-8"`, "0x": `"0x"`, "0xg": `"0xg"`,
		"ff": `"ff"`, "any,1": `"any"`, "none": `"none"`, "+5": `"+5"`, "1_0": `"1_0"`, "0b1": `"0b1"`, "1 2": `"1 2"`,
	} {
		if s, err := ParsePolicies(text); err == nil || s != nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, %v; want an error with %s", text, s, err, part)
		}
	}
}

// An empty set is not "any": it refuses everything.
func TestEmptyPolicies(t *testing.T) {
	if s := new(Policies); s.Has(0) || s.Has(1) || s.String() != "" {
		t.Errorf("%v has 0: %v", s, s.Has(0))
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("0,0x10-20", fromA(tcp4.build()))
	f.Add("any", []byte{0x88, 0x48, 1, 2})
	f.Fuzz(func(t *testing.T, text string, d []byte) {
		inside, intact := guarded(d)
		gbp := withGBP(vtepB, "any")
		id, flags := gbp.Policy(inside)
		if !intact() || !bytes.Equal(inside, d) {
			t.Fatal("Policy wrote")
		}
		if marked := len(d) >= 4 && d[0] >= 0x80; !marked && (id != 0 || flags != 0) {
			t.Fatalf("%#x, %#x without a policy", id, flags)
		}
		set, err := ParsePolicies(text)
		if err != nil {
			return
		}
		again, err := ParsePolicies(set.String())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(set) {
			t.Fatalf("%q became %v, that became %v, %v", text, set, again, err)
		}
		gbp.Accept = set
		if _, drop := gbp.Open(inside); drop == Delivered && !set.Has(id) || drop == VXLANPolicy && set.Has(id) {
			t.Fatalf("%v with policy %#x, of %v", drop, id, set)
		}
	})
}
