package lease_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/lease"
)

// The vectors come from runs of flanneld's own parser.
func TestParseConfigRanges(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`"Network":"10.5.0.0/16"`, "10.5.0.0/16 24 10.5.1.0 10.5.255.0"},
		{`"Network":"10.5.3.7/16"`, "10.5.0.0/16 24 10.5.1.0 10.5.255.0"},
		{`"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"`, "10.0.0.0/8 20 10.10.0.0 10.99.0.0"},
		{`"Network":"10.0.0.0/22"`, "10.0.0.0/22 24 10.0.1.0 10.0.3.0"},
		{`"Network":"10.0.0.0/23"`, "10.0.0.0/23 25 10.0.0.128 10.0.1.128"},
		{`"Network":"10.0.0.0/24"`, "10.0.0.0/24 26 10.0.0.64 10.0.0.192"},
		{`"Network":"10.0.0.0/28"`, "10.0.0.0/28 30 10.0.0.4 10.0.0.12"},
		{`"Network":"10.0.0.0/28","SubnetLen":30`, "10.0.0.0/28 30 10.0.0.4 10.0.0.12"},
		{`"Network":"10.5.0.0/16","SubnetMin":"10.5.0.0"`, "10.5.0.0/16 24 10.5.0.0 10.5.255.0"},
		{`"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.3.0"`, "10.5.0.0/16 24 10.5.9.0 10.5.3.0"},
		{`"Network":"10.5.0.0/16","SubnetMin":"0.0.0.0","SubnetLen":null`, "10.5.0.0/16 24 10.5.1.0 10.5.255.0"},
		{`"Network":"255.255.0.0/16"`, "255.255.0.0/16 24 255.255.1.0 255.255.255.0"},
		{`"network":"10.3.0.0/16","SUBNETLEN":26`, "10.3.0.0/16 26 10.3.0.64 10.3.255.192"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"`, "fd00:10:5::/48 64 fd00:10:5:1:: fd00:10:5:ffff::"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/56"`, "fd00:10:5::/56 64 fd00:10:5:1:: fd00:10:5:ff::"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/62"`, "fd00:10:5::/62 64 fd00:10:5:1:: fd00:10:5:3::"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/63"`, "fd00:10:5::/63 65 fd00:10:5:0:8000:: fd00:10:5:1:8000::"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/124"`, "fd00:10:5::/124 126 fd00:10:5::4 fd00:10:5::c"},
		{`"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"ffff:ffff::/32"`, "ffff:ffff::/32 64 ffff:ffff:0:1:: ffff:ffff:ffff:ffff::"},
	} {
		c, err := lease.ParseConfig([]byte("{" + tc.in + "}"))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		got := fmt.Sprintln(c.Network, c.SubnetLen, c.SubnetMin, c.SubnetMax)
		if !c.EnableIPv4 {
			got = fmt.Sprintln(c.IPv6Network, c.IPv6SubnetLen, c.IPv6SubnetMin, c.IPv6SubnetMax)
		}
		if strings.TrimSpace(got) != tc.want {
			t.Errorf("%s: %s, want %s", tc.in, got, tc.want)
		}
		if c.BackendType != "udp" || c.Backend != nil || c.Unknown != nil {
			t.Errorf("%s: backend %q %s, unknown %q", tc.in, c.BackendType, c.Backend, c.Unknown)
		}
	}
}

// Each error names the key and shows the value.
func TestParseConfigErrors(t *testing.T) {
	const v6 = `"EnableIPv4":false,"EnableIPv6":true,`
	for _, tc := range []struct{ in, want string }{
		{`{"Network":"10.0.0.0/29"}`, "net-conf: Network: 10.0.0.0/29 is too small"},
		{`{"Network":"10.5.0.0/30"}`, "Network: 10.5.0.0/30 is too small"},
		{`{"Network":"10.0.0.0/28","SubnetLen":31}`, "net-conf: SubnetLen: 31 is above 30"},
		{`{"Network":"10.0.0.0/24","SubnetLen":25}`, "SubnetLen: 25 leaves fewer than four"},
		{`{"Network":"10.5.0.0/16","SubnetMin":"10.5.5.1"}`, "SubnetMin: 10.5.5.1 is not the start"},
		{`{"Network":"10.5.0.0/16","SubnetMax":"10.5.20.128"}`, "SubnetMax: 10.5.20.128 is not the start"},
		{`{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}`, "SubnetMin: 10.6.0.0 is outside Network 10.5.0.0/16"},
		{`{"Network":"10.5.0.0/16","SubnetMin":"fd00::"}`, `SubnetMin: "fd00::" is not IPv4`},
		{`{"Network":"0.0.0.0/0"}`, "Network: missing or empty"},
		{`{}`, "Network: missing or empty"},
		{`{"Network":"10.5.0.0"}`, `Network: "10.5.0.0" is not ADDRESS/LENGTH`},
		{`{"Network":"fd00::/48"}`, `Network: "fd00::/48" is not IPv4`},
		{`{"Network":7}`, "Network: 7 is not a string"},
		{`{"Network":"10.5.0.0/16","SubnetLen":-1}`, "SubnetLen: -1 is not in"},
		{`{"Network":"10.5.0.0/16","SubnetLen":"24"}`, `SubnetLen: "24" is not a whole number`},
		{`{"Network":"10.5.0.0/16","SubnetLen":24.5}`, "SubnetLen: 24.5 is not a whole number"},
		{`{"Network":"10.5.0.0/16","EnableIPv4":1}`, "EnableIPv4: 1 is neither true nor false"},
		{`{"Network":"10.5.0.0/16","EnableIPv6":true}`, "IPv6Network: missing or empty"},
		{`{` + v6 + `"IPv6Network":"fd00:10:5::/125"}`, "IPv6Network: fd00:10:5::/125 is too small"},
		{`{` + v6 + `"IPv6Network":"fd00:10:5::/48","IPv6SubnetLen":127}`, "IPv6SubnetLen: 127 is above 126"},
		{`{` + v6 + `"IPv6Network":"fd00:10:5::/48","IPv6SubnetLen":49}`, "IPv6SubnetLen: 49 leaves fewer than four"},
		{`{` + v6 + `"IPv6Network":"fd00:10:5::/48","IPv6SubnetMin":"fd00:10:5:7::1"}`, "IPv6SubnetMin: fd00:10:5:7::1 is not the start"},
		{`{` + v6 + `"IPv6Network":"10.5.0.0/16"}`, `IPv6Network: "10.5.0.0/16" is not IPv6`},
		{`{` + v6 + `"IPv6Network":"::ffff:10.5.0.0/112"}`, "is not IPv6"},
		{`{"EnableIPv4":false,"Network":"10.5.0.0/16"}`, "no address family"},
		{`{"Network":"10.5.0.0/16","Backend":{}}`, "Backend.Type: missing"},
		{`{"Network":"10.5.0.0/16","Backend":null}`, "Backend.Type: missing"},
		{`{"Network":"10.5.0.0/16","Backend":"vxlan"}`, `Backend: "vxlan" is not a JSON object`},
		{`{"Network":"10.5.0.0/16","Backend":["vxlan"]}`, `Backend: ["vxlan"] is not a JSON object`},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":5}}`, "Backend.Type: 5 is not a string"},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","Port":70000}}`, "Backend.Port: 70000 is not in 1..65535"},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","port":"8285"}}`, `Backend.Port: "8285" is not a whole number`},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":12}}`, "Backend.MTU: 12 is not in 576..65535"},
		{`{"Network":"10.5.0.0/16"`, "ends too early"},
		{``, "ends too early"},
		{`{"Network":"10.5.0.0/16"} {}`, "more text after"},
		{`[1]`, "[1] is not a JSON object"},
		{`null`, "null is not a JSON object"},
		{`nonsense`, "not JSON"},
	} {
		c, err := lease.ParseConfig([]byte(tc.in))
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "net-conf: ") {
			t.Errorf("%s: got %+v, %v; want an error with %q", tc.in, c, err, tc.want)
		}
	}
}

func TestParseConfigDual(t *testing.T) {
	c, err := lease.ParseConfig([]byte(`{"EnableIPv6":true,"IPv6Network":"fd00:10:5::1/48","Network":"10.5.0.0/16","EnableNFTables":true}`))
	if err != nil {
		t.Fatal(err)
	}
	if !c.EnableIPv4 || !c.EnableNFTables || c.SubnetLen != 24 || c.IPv6SubnetLen != 64 {
		t.Errorf("%+v", c)
	}
}

func TestParseConfigUnknownKeys(t *testing.T) {
	c, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Netwerk":1,"Backend":{"type":"UDP","port":9000,"VNI":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Netwerk", "Backend.VNI"}; !slices.Equal(c.Unknown, want) {
		t.Errorf("unknown keys %q, want %q", c.Unknown, want)
	}
	c, err = lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"VXLAN","vni":3,"Bogus":1}}`))
	if err != nil || c.BackendType != "vxlan" || !slices.Equal(c.Unknown, []string{"Backend.Bogus"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := c.UDP(); err == nil {
		t.Error("UDP options of a vxlan network")
	}
}

func TestUDPOptions(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want lease.UDPBackend
	}{
		{`{"Network":"10.5.0.0/16"}`, lease.UDPBackend{Port: 8285}},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}`, lease.UDPBackend{Port: 8285}},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","PORT":7000,"mtu":1400}}`, lease.UDPBackend{Port: 7000, MTU: 1400}},
		{`{"Network":"10.5.0.0/16","Backend":{"Type":"udp","MTU":0}}`, lease.UDPBackend{Port: 8285}},
	} {
		c, err := lease.ParseConfig([]byte(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if got, err := c.UDP(); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.in, got, err, tc.want)
		}
	}
}

func TestWireGuardOptions(t *testing.T) {
	psk := lease.WireGuardSecret{31: 1}
	const text = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
	defaults := lease.WireGuardBackend{ListenPort: 51820, ListenPortV6: 51821, Mode: lease.WireGuardSeparate}
	with := func(change func(*lease.WireGuardBackend)) lease.WireGuardBackend {
		b := defaults
		change(&b)
		return b
	}
	for _, tc := range []struct {
		in   string
		want lease.WireGuardBackend
	}{
		{``, defaults},
		{`,"PSK":"","MTU":0,"PersistentKeepaliveInterval":0,"Mode":"separate"`, defaults},
		{`,"PSK":null,"ListenPort":null,"Mode":null`, defaults},
		{`,"PSK":"` + text + `","PSK":""`, defaults}, // the last counts
		{`,"psk":"` + text + `"`, with(func(b *lease.WireGuardBackend) { b.PSK = psk })},
		{`,"Mode":"auto"`, with(func(b *lease.WireGuardBackend) { b.Mode = lease.WireGuardAuto })},
		{`,"Mode":"ipv4"`, with(func(b *lease.WireGuardBackend) { b.Mode = lease.WireGuardIPv4 })},
		{`,"Mode":"ipv6"`, with(func(b *lease.WireGuardBackend) { b.Mode = lease.WireGuardIPv6 })},
		{`,"ListenPort":1,"ListenPortV6":65535,"MTU":1400,"PersistentKeepaliveInterval":65535`, lease.WireGuardBackend{
			ListenPort: 1, ListenPortV6: 65535, MTU: 1400, PersistentKeepaliveInterval: 65535, Mode: lease.WireGuardSeparate}},
	} {
		c, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"WireGuard"` + tc.in + `}}`))
		if err != nil || c.Unknown != nil {
			t.Errorf("%s: %v, unknown %v", tc.in, err, c)
			continue
		}
		if got, err := c.WireGuard(); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.in, got, err, tc.want)
		}
	}
	udp, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := udp.WireGuard(); err == nil || err.Error() != `net-conf: Backend.Type: "udp" is not wireguard` {
		t.Errorf("options of another backend: %v", err)
	}
}

func TestWireGuardOptionErrors(t *testing.T) {
	for in, want := range map[string]string{
		`"ListenPort":0`:                           "net-conf: Backend.ListenPort: 0 is not in 1..65535",
		`"ListenPort":65536`:                       "Backend.ListenPort: 65536 is not in 1..65535",
		`"listenportv6":0`:                         "Backend.ListenPortV6: 0 is not in 1..65535",
		`"ListenPortV6":"51821"`:                   `Backend.ListenPortV6: "51821" is not a whole number`,
		`"MTU":500`:                                "Backend.MTU: 500 is not in 576..65535",
		`"PersistentKeepaliveInterval":-1`:         "Backend.PersistentKeepaliveInterval: -1 is not in 0..65535",
		`"PersistentKeepaliveInterval":65536`:      "Backend.PersistentKeepaliveInterval: 65536 is not in",
		`"PersistentKeepaliveInterval":"25s"`:      `Backend.PersistentKeepaliveInterval: "25s" is not a whole number`,
		`"Mode":"Auto"`:                            `Backend.Mode: "Auto" is none of separate, auto, ipv4, ipv6`,
		`"Mode":""`:                                `Backend.Mode: "" is none of`,
		`"Mode":4`:                                 "Backend.Mode: 4 is not a string",
		`"PSK":123`:                                "Backend.PSK: the value, not shown here, is not a string",
		`"PSK":"c2VjcmV0"`:                         "Backend.PSK: the value, not shown here, is the base64 of 6 bytes and not of 32",
		`"PSK":"c2VjcmV0","Mode":"auto"`:           "Backend.PSK: ",
		`"PSK":"AAAA AAAA"`:                        "Backend.PSK: the value, not shown here, is not base64",
		`"Mode":"ipv5","PSK":"c2VjcmV0c2VjcmV0"`:   `Backend.Mode: "ipv5" is none of`,
		`"ListenPort":"","PSK":"c2VjcmV0c2VjcmV0"`: "Backend.ListenPort: ",
	} {
		_, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard",` + in + `}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// However a PSK is got wrong, and whatever else is wrong beside it, no error
// shows it.
func TestConfigErrorsKeepSecrets(t *testing.T) {
	const secret = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="
	for _, backend := range []string{
		`{"Type":"wireguard","PSK":["` + secret + `"]}`,
		`{"Type":"wireguard","PSK":{"key":"` + secret + `"}}`,
		`{"Type":"wireguard","PSK":"` + secret + `="}`,
		`{"Type":"wireguard","PSK":"` + secret[:40] + `"}`,
		`{"Type":"wireguard","PSK":" ` + secret + `"}`,
		`{"Type":"wireguard","PSK":"` + secret + secret + `"}`,
		`{"Type":"wireguard","PSK":` + secret + `}`,
		`{"Type":"wireguard","PSK":"` + secret + "\n" + `"}`,
		`{"Type":"wireguard","PSK":"` + secret + `}`,
		`{"Type":"wireguard","Mode":"x","PSK":"` + secret + `"}`,
		`{"PSK":"` + secret + `"}`,
		`{"Type":{"PSK":"` + secret + `"}}`,
		`"{\"Type\":\"wireguard\",\"PSK\":\"` + secret + `\"}"`,
		`["wireguard",{"PSK":"` + secret + `"}]`,
		`"` + secret + `"`,
	} {
		c, err := lease.ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":` + backend + `}`))
		if err == nil {
			t.Errorf("%s: accepted as %+v", backend, c)
			continue
		}
		for i := range len(secret) - 4 {
			if strings.Contains(err.Error(), secret[i:i+4]) {
				t.Errorf("%s: the error shows some of it: %v", backend, err)
				break
			}
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"Network":"10.5.0.0/16","SubnetLen":26,"Backend":{"Type":"udp","Port":1}}`))
	f.Add([]byte(`{"EnableIPv6":true,"IPv6Network":"fd00::/48","Network":"10.0.0.0/8","SubnetMin":"10.1.0.0"}`))
	f.Add([]byte(`{"Backend":null}`))
	f.Add([]byte(`{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard","PSK":"AAAA","Mode":"auto"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := lease.ParseConfig(data)
		if err != nil {
			return
		}
		// Whatever is accepted can be planned with.
		p, err := lease.Claim{Config: c}.Plan(nil, nil, rnd())
		if err != nil {
			return // SubnetMin above SubnetMax
		}
		if c.EnableIPv4 && !c.Network.Overlaps(p.Lease.Subnet) || c.EnableIPv6 && !c.IPv6Network.Overlaps(p.Lease.Subnet6) {
			t.Errorf("%s: planned %v %v", data, p.Lease.Subnet, p.Lease.Subnet6)
		}
	})
}
