package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/lease"
)

// flannelBackends are the types that flannel has and this version has not.
var flannelBackends = []string{"wireguard", "host-gw", "ipip", "ipsec", "extension", "alloc", "tencent-vpc"}

// secretOptions, in lower case, are never printed.
var secretOptions = []string{"psk", "accesskeysecret"}

// describeBackend returns the backend of c and its options in words, and
// warnings. A type that nobody has is an error.
func describeBackend(c *lease.Config) (words, warnings []string, err error) {
	switch {
	case c.BackendType == "udp":
		words, err = describeUDP(c)
	case c.BackendType == "vxlan":
		words, warnings, err = describeVXLAN(c)
	case slices.Contains(flannelBackends, c.BackendType):
		warnings = append(warnings, fmt.Sprintf("Backend.Type: %q: flannel has it, this version of weft has not", c.BackendType))
		words, err = describeOther(c)
	default:
		err = fmt.Errorf("net-conf: Backend.Type: %q: no such backend; weft has udp and vxlan, flannel also %s",
			c.BackendType, strings.Join(flannelBackends, ", "))
	}
	return words, warnings, err
}

func describeUDP(c *lease.Config) ([]string, error) {
	u, err := c.UDP()
	words := []string{"udp", fmt.Sprintf("Port %d", u.Port)}
	return appendMTU(words, u.MTU), err
}

func describeVXLAN(c *lease.Config) (words, warnings []string, err error) {
	v, err := c.VXLAN()
	words = appendMTU([]string{"vxlan", fmt.Sprintf("VNI %d", v.VNI), fmt.Sprintf("Port %d", v.Port)}, v.MTU)
	for _, flag := range []struct {
		name string
		on   bool
	}{{"GBP", v.GBP}, {"DirectRouting", v.DirectRouting}} {
		if flag.on {
			words = append(words, flag.name)
		}
	}
	if v.Learning {
		warnings = append(warnings, "Backend.Learning: has no effect here: leases tell all that could be learnt")
	}
	if v.MacPrefix != "" {
		warnings = append(warnings, fmt.Sprintf("Backend.MacPrefix: %q: has a meaning on Windows only", v.MacPrefix))
	}
	return words, warnings, err
}

func appendMTU(words []string, mtu int) []string {
	if mtu == 0 {
		return words
	}
	return append(words, fmt.Sprintf("MTU %d", mtu))
}

// describeOther shows the options of a backend that this version does not have
// as they are written.
func describeOther(c *lease.Config) ([]string, error) {
	words := []string{c.BackendType}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(c.Backend, &options); err != nil {
		return nil, fmt.Errorf("net-conf: Backend: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		switch name := strings.ToLower(key); {
		case name == "type":
		case slices.Contains(secretOptions, name):
			words = append(words, key+" [hidden]")
		default:
			words = append(words, key+" "+string(options[key]))
		}
	}
	return words, nil
}
