package tunnel

import (
	"fmt"
	"os"
	"strings"
)

// A Feature is a capability of the kernel that weft uses when it is there and
// does without when it is not.
type Feature uint16

// The features, with the kernel that brought each. The names are those that
// WEFT_DISABLE understands.
const (
	Vnet     Feature = 1 << iota // vnet: virtio-net header on the TUN (2.6.27)
	TSO                          // tso: TCP superpackets from and to the TUN (2.6.27)
	USO                          // uso: UDP superpackets from and to the TUN (6.2)
	GSO                          // gso: UDP_SEGMENT on the port (4.18)
	GRO                          // gro: UDP_GRO on the port (5.0)
	Mmsg                         // mmsg: sendmmsg and recvmmsg (3.0)
	ECN                          // ecn: congestion bits beside messages (IP_TOS 3.13, IPV6_TCLASS 2.6.14)
	IPv6                         // ipv6: the IPv6 family, inside and outside
	NFT                          // nft: nftables; not used here, but named in the same variable
	IPTables                     // iptables: likewise
)

var featureNames = []string{"vnet", "tso", "uso", "gso", "gro", "mmsg", "ecn", "ipv6", "nft", "iptables"}

// DisableEnv is the environment variable that switches features off: a comma
// separated list of their names.
const DisableEnv = "WEFT_DISABLE"

// String lists the names of the features in f.
func (f Feature) String() string {
	var names []string
	for i, name := range featureNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// Has tells whether f contains all of g.
func (f Feature) Has(g Feature) bool { return f&g == g }

// ParseFeatures reads a list as WEFT_DISABLE holds it.
func ParseFeatures(list string) (Feature, error) {
	var f Feature
next:
	for _, word := range strings.Split(list, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if word == "" {
			continue
		}
		for i, name := range featureNames {
			if word == name {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%s: unknown feature %q; known are %s", DisableEnv, word, strings.Join(featureNames, ", "))
	}
	return f, nil
}

// Allowed returns all features but those that WEFT_DISABLE names. TSO and USO
// need the virtio-net header and go with it.
func Allowed() (Feature, error) {
	off, err := ParseFeatures(os.Getenv(DisableEnv))
	if err != nil {
		return 0, err
	}
	f := ^off & (1<<len(featureNames) - 1)
	if !f.Has(Vnet) {
		f &^= TSO | USO
	}
	return f, nil
}
