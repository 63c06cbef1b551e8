package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/lease"
)

// supportedBackends are the backend types that this version can run.
var supportedBackends = []string{"udp"}

// flannelBackends are the types that flannel has and this version has not.
var flannelBackends = []string{"vxlan", "wireguard", "host-gw", "ipip", "ipsec", "extension", "alloc", "tencent-vpc"}

// secretOptions, in lower case, are never printed.
var secretOptions = []string{"psk", "accesskeysecret"}

// describeBackend returns the backend of c and its options in words, and a
// warning or "". A type that nobody has is an error.
func describeBackend(c *lease.Config) (words []string, warning string, err error) {
	words = []string{c.BackendType}
	if c.BackendType == "udp" {
		u, err := c.UDP()
		if err != nil {
			return nil, "", err
		}
		words = append(words, fmt.Sprintf("Port %d", u.Port))
		if u.MTU != 0 {
			words = append(words, fmt.Sprintf("MTU %d", u.MTU))
		}
		return words, "", nil
	}
	switch {
	case slices.Contains(supportedBackends, c.BackendType):
	case slices.Contains(flannelBackends, c.BackendType):
		warning = fmt.Sprintf("Backend.Type: %q: flannel has it, this version of weft has not", c.BackendType)
	default:
		return nil, "", fmt.Errorf("net-conf: Backend.Type: %q: no such backend", c.BackendType)
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(c.Backend, &options); err != nil {
		return nil, "", fmt.Errorf("net-conf: Backend: %w", err)
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
	return words, warning, nil
}
