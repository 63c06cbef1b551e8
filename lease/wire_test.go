package lease_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"weft/lease"
)

func TestKeys(t *testing.T) {
	for key, want := range map[string][2]string{
		"10.5.1.0-24":                     {"10.5.1.0/24"},
		"10.5.1.0-24&fd00:10:5:1::-64":    {"10.5.1.0/24", "fd00:10:5:1::/64"},
		"10.5.1.0-31":                     {"10.5.1.0/31"},
		"10.5.1.0-24&fd00::-127":          {"10.5.1.0/24", "fd00::/127"},
		"10.5.1.7-24":                     {"10.5.1.7/24"},
		"0.0.0.0-0":                       {"0.0.0.0/0"},
		"0.0.0.0-0&fd00:10:5:38::-64":     {"", "fd00:10:5:38::/64"},
		"10.5.1.0-32":                     {},
		"10.5.1.0-24&fd00::-128":          {},
		"10.5.1.0-24&FD00::-64":           {},
		"10.5.1.0-24/":                    {},
		"10.05.1.0-24":                    {},
		"10.5.1.0-024":                    {},
		"10.5.1.0-+24":                    {},
		"xx99.10.5.1.0-24":                {}, // flannel reads 10.5.1.0/24
		"10.5.1.0-24&fd00:0:0::-64":       {}, // not canonical
		"10.5.1.0-24&::ffff:10.0.0.0-112": {},
		"10.5.1.0-24&fe80::1%eth0-64":     {},
		"10.5.1.0-24&10.5.2.0-24":         {},
		"fd00::-64":                       {},
		"10":                              {},
		"10.12.13.0":                      {},
		"10.12.13-24":                     {},
		"10.12.13.300-24":                 {},
		"10.12.13.0-24hi":                 {},
		"&2001::-56":                      {},
		"10.12.13.0-24&2001::":            {},
		"10.12.13.0-24&":                  {},
		"":                                {},
	} {
		v4, v6, err := lease.ParseKey(key)
		if want == [2]string{} {
			if err == nil {
				t.Errorf("%q: accepted as %v %v", key, v4, v6)
			}
			continue
		}
		if err != nil || v4 != prefix(want[0]) || v6 != prefix(want[1]) {
			t.Errorf("%q: %v %v %v, want %v", key, v4, v6, err, want)
		}
		if back := lease.Key(v4, v6); back != key {
			t.Errorf("%q: written back as %q", key, back)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("10.5.1.0-24")
	f.Add("0.0.0.0-0&fd00:10:5:38::-64")
	f.Fuzz(func(t *testing.T, key string) {
		v4, v6, err := lease.ParseKey(key)
		if err == nil && lease.Key(v4, v6) != key {
			t.Errorf("%q parses to %v %v, which is %q", key, v4, v6, lease.Key(v4, v6))
		}
	})
}

// What flanneld was seen to write, and must be written again byte for byte.
var flannelValues = []string{
	`{"PublicIP":"192.168.50.1","PublicIPv6":null}`,
	`{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}}`,
	`{"PublicIP":"192.168.50.2","PublicIPv6":"fd00:50::2","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"},"BackendV6Data":{"VNI":1,"VtepMAC":"ea:e2:2d:40:ed:9e"}}`,
	`{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:50::2","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}}`,
	`{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"host-gw"}`,
	`{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"extension","BackendData":"hello"}`,
}

func TestAttrsRoundTrip(t *testing.T) {
	for _, v := range flannelValues {
		var a lease.Attrs
		if err := json.Unmarshal([]byte(v), &a); err != nil {
			t.Errorf("%s: %v", v, err)
			continue
		}
		back, err := json.Marshal(a)
		if err != nil || string(back) != v {
			t.Errorf("got  %s, %v\nwant %s", back, err, v)
		}
	}
}

func TestAttrsAccept(t *testing.T) {
	ip := netip.MustParseAddr("1.2.3.4")
	for _, tc := range []struct {
		in   string
		want lease.Attrs
	}{
		{`{"PublicIP":"1.2.3.4"}`, lease.Attrs{PublicIP: ip}},
		{`{"publicip":"1.2.3.4","Node":"a","Beat":"1"}`, lease.Attrs{PublicIP: ip}},
		{`{"PublicIP":"1.2.3.4","BackendType":"vxlan","BackendData":{"VtepMAC":"96:59:b2:3f:04:ee"}}`,
			lease.Attrs{PublicIP: ip, BackendType: "vxlan", BackendData: json.RawMessage(`{"VtepMAC":"96:59:b2:3f:04:ee"}`)}},
		{`{"PublicIP":"1.2.3.4","BackendData":null}`, lease.Attrs{PublicIP: ip}},
		{`{}`, lease.Attrs{}},
		{`{"PublicIP":"0.0.0.0"}`, lease.Attrs{}},
	} {
		var a lease.Attrs
		if err := json.Unmarshal([]byte(tc.in), &a); err != nil || !a.Equal(tc.want) {
			t.Errorf("%s: %+v, %v", tc.in, a, err)
		}
	}
}

func TestAttrsEqual(t *testing.T) {
	data := func(s string) lease.Attrs { return lease.Attrs{BackendData: json.RawMessage(s)} }
	if !data(`{"a": "x&y"}`).Equal(data(`{"a":"x\u0026y"}`)) {
		t.Error("what is written differs from what was given")
	}
	if data(`{"a":1}`).Equal(data(`{"a":2}`)) || data(`{"a":1}`).Equal(data("")) {
		t.Error("different data are equal")
	}
	if !(lease.Attrs{PublicIP: netip.IPv4Unspecified()}).Equal(lease.Attrs{}) {
		t.Error("two ways to have no address differ")
	}
}

func TestAttrsReject(t *testing.T) {
	for _, in := range []string{
		`{"PublicIP":null}`, `{"PublicIP":""}`, `{"PublicIP":7}`, `{"PublicIP":"fd00::1"}`, `{"PublicIP":"1.2.3"}`,
		`{"PublicIP":"1.2.3.4","PublicIPv6":"1.2.3.4"}`, `{"PublicIP":"1.2.3.4","PublicIPv6":"fe80::1%eth0"}`,
		`{"PublicIP":"1.2.3.4","BackendType":5}`, `[]`, `"x"`, ``, `{"PublicIP":"1.2.3.4"`,
	} {
		var a lease.Attrs
		if err := json.Unmarshal([]byte(in), &a); err == nil {
			t.Errorf("%s: accepted as %+v", in, a)
		}
	}
	for _, a := range []lease.Attrs{
		{PublicIP: netip.MustParseAddr("fd00::1")},
		{PublicIPv6: netip.MustParseAddr("1.2.3.4")},
	} {
		if b, err := json.Marshal(a); err == nil {
			t.Errorf("%+v: written as %s", a, b)
		}
	}
}

func FuzzAttrs(f *testing.F) {
	for _, v := range flannelValues {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a, b lease.Attrs
		if json.Unmarshal(data, &a) != nil {
			return
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatalf("%s: read but cannot be written: %v", data, err)
		}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: written as %s, which cannot be read: %v", data, text, err)
		}
		again, err := json.Marshal(b)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s: not stable: %s, then %s (%v)", data, text, again, err)
		}
	})
}
