package encap

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// PolicyFlags are the bits that go with a group policy. Their values are
// those of byte 1 of the VXLAN header.
type PolicyFlags uint8

// The flags (draft-smith-vxlan-group-policy-05 section 2.1).
const (
	PolicyDontLearn PolicyFlags = 0x40 // D: the inner source is not to be learnt; weft learns none
	PolicyApplied   PolicyFlags = 0x08 // A: the sender has applied the policy already
)

// Policy returns the group policy of a datagram, and its flags: 0 and none if
// the frame bears none, or GBP is off. Accept does not look at the flags:
// although the draft has a policy that A calls applied not applied again, a
// sender must not be able to switch the check off.
func (v *VXLAN) Policy(datagram []byte) (id uint16, flags PolicyFlags) {
	if !v.GBP || len(datagram) < 4 || datagram[0]&0x80 == 0 {
		return 0, 0
	}
	flags = PolicyFlags(datagram[1]) & (PolicyDontLearn | PolicyApplied)
	return binary.BigEndian.Uint16(datagram[2:]), flags
}

// maxPolicy is the largest group policy; it has 16 bits.
const maxPolicy = 1<<16 - 1

// Policies is a set of group policies. A nil set has them all.
type Policies struct {
	bits [(maxPolicy + 1) / 64]uint64
}

// ParsePolicies reads a set: "any", which is nil, or a list of numbers and
// ranges between commas, decimal or 0x and hexadecimal, as in "0,0x10,100-199".
// 0 is the policy of frames that bear none. The error names the part of the
// list that is wrong.
func ParsePolicies(text string) (*Policies, error) {
	if strings.TrimSpace(text) == "any" {
		return nil, nil
	}
	s := new(Policies)
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		lo, err := parsePolicy(first)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		hi, err := parsePolicy(last)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		if hi < lo {
			return nil, fmt.Errorf("%q: the range ends before it begins", part)
		}
		for id := int(lo); id <= int(hi); id++ {
			s.bits[id/64] |= 1 << (id % 64)
		}
	}
	return s, nil
}

func parsePolicy(text string) (uint16, error) {
	text, base := strings.TrimSpace(text), 10
	if digits, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		text, base = digits, 16
	}
	id, err := strconv.ParseUint(text, base, 16)
	if err != nil {
		return 0, fmt.Errorf("a group policy is a number in 0..%d", maxPolicy)
	}
	return uint16(id), nil
}

// Has tells whether id is in the set.
func (s *Policies) Has(id uint16) bool {
	return s == nil || s.bits[id/64]>>(id%64)&1 != 0
}

// String returns the set in a form that [ParsePolicies] reads: decimal,
// ascending, each run of numbers as one range.
func (s *Policies) String() string {
	if s == nil {
		return "any"
	}
	var parts []string
	for id := 0; id <= maxPolicy; id++ {
		if !s.Has(uint16(id)) {
			continue
		}
		first := id
		for id < maxPolicy && s.Has(uint16(id+1)) {
			id++
		}
		part := strconv.Itoa(first)
		if id > first {
			part += "-" + strconv.Itoa(id)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}
