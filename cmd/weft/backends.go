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
var flannelBackends = []string{"host-gw", "ipip", "ipsec", "extension", "alloc", "tencent-vpc"}

// keepSecrets are those of them whose options can hold secrets. Of them only the
// names of options are shown: a secret may stand under a misspelt one.
var keepSecrets = []string{"ipsec", "tencent-vpc"}

// describeBackend returns the backend of c and its options in words, and
// warnings. A type that nobody has is an error.
func describeBackend(c *lease.Config) (words, warnings []string, err error) {
	switch {
	case c.BackendType == "udp":
		words, err = describeUDP(c)
	case c.BackendType == "vxlan":
		words, warnings, err = describeVXLAN(c)
	case c.BackendType == "wireguard":
		words, warnings, err = describeWireGuard(c)
	case slices.Contains(flannelBackends, c.BackendType):
		warnings = append(warnings, fmt.Sprintf("Backend.Type: %q: flannel has it, this version of weft has not", c.BackendType))
		words, err = describeOther(c)
	default:
		err = fmt.Errorf("net-conf: Backend.Type: %q: no such backend; weft has udp, vxlan and wireguard, flannel also %s",
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

// describeWireGuard shows the ports that count in the mode. The preshared key is
// never printed, only that there is one.
func describeWireGuard(c *lease.Config) (words, warnings []string, err error) {
	w, err := c.WireGuard()
	words = []string{"wireguard", fmt.Sprintf("Mode %s", w.Mode)}
	separate := w.Mode == lease.WireGuardSeparate
	if c.EnableIPv4 || !separate {
		words = append(words, fmt.Sprintf("ListenPort %d", w.ListenPort))
	}
	const defaultV6 = 51821
	switch {
	case c.EnableIPv6 && separate:
		words = append(words, fmt.Sprintf("ListenPortV6 %d", w.ListenPortV6))
	case w.ListenPortV6 != defaultV6 && w.ListenPortV6 != w.ListenPort: // stock nodes need them equal
		warnings = append(warnings, fmt.Sprintf("Backend.ListenPortV6: %d: counts with Mode separate and EnableIPv6 only", w.ListenPortV6))
	}
	words = appendMTU(words, w.MTU)
	if n := w.PersistentKeepaliveInterval; n > 0 {
		words = append(words, fmt.Sprintf("PersistentKeepaliveInterval %d", n))
	}
	if w.PSK != (lease.WireGuardSecret{}) {
		words = append(words, "PSK [hidden]")
	}
	if clash := w.CheckPorts(c.EnableIPv4, c.EnableIPv6); err == nil && clash != nil {
		err = fmt.Errorf("net-conf: %w", clash)
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
// as they are written; of those that keep secrets, their names.
func describeOther(c *lease.Config) ([]string, error) {
	words := []string{c.BackendType}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(c.Backend, &options); err != nil {
		return nil, fmt.Errorf("net-conf: Backend: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		switch {
		case strings.EqualFold(key, "type"):
		case slices.Contains(keepSecrets, c.BackendType):
			words = append(words, key+" [hidden]")
		default:
			words = append(words, key+" "+string(options[key]))
		}
	}
	return words, nil
}
