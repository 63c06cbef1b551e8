package lease

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVTEP(t *testing.T) {
	const text = `{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`
	want := VTEP{VNI: 1, MAC: [6]byte{0x7e, 0x4d, 0xf4, 0x69, 0x11, 0x21}}
	a := Attrs{BackendData: json.RawMessage(text)}
	if v, err := a.VTEP(4); err != nil || v != want {
		t.Errorf("%+v, %v", v, err)
	}
	if out, err := json.Marshal(want); err != nil || string(out) != text {
		t.Errorf("written as %s, %v", out, err)
	}
	if _, err := a.VTEP(6); err == nil || err.Error() != "BackendV6Data: missing" {
		t.Errorf("a family without data: %v", err)
	}
	a.BackendV6Data = json.RawMessage(`{"VtepMAC":"ea:e2:2d:40:ed:9e","More":[]}`) // as before flannel 0.11
	if v, err := a.VTEP(6); err != nil || v != (VTEP{MAC: [6]byte{0xea, 0xe2, 0x2d, 0x40, 0xed, 0x9e}}) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestVTEPRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                             `BackendData: VtepMAC: "" is not`,
		`{"VtepMAC":"96:59:b2:3f:04"}`:                   `"96:59:b2:3f:04" is not`,
		`{"VtepMAC":"00:00:5e:00:53:00:00:01"}`:          `is not an Ethernet address`,
		`{"VtepMAC":"97:59:b2:3f:04:ee"}`:                `97:59:b2:3f:04:ee is a group address`,
		`{"VtepMAC":"00:00:00:00:00:00"}`:                `00:00:00:00:00:00 is no address`,
		`{"VNI":16777216,"VtepMAC":"96:59:b2:3f:04:ee"}`: `VNI: 16777216 is not in 0..16777215`,
		`{"VNI":-1,"VtepMAC":"96:59:b2:3f:04:ee"}`:       `BackendData: json`,
		`"hello"`: `BackendData: json`,
	} {
		v, err := Attrs{BackendData: json.RawMessage(text)}.VTEP(4)
		if err == nil || !strings.Contains(err.Error(), want) || v != (VTEP{}) {
			t.Errorf("%s: %+v, %v; want %q", text, v, err, want)
		}
	}
}

func TestVXLANOptions(t *testing.T) {
	for text, want := range map[string]VXLANBackend{
		`{"Type":"vxlan"}`:                            {VNI: 1, Port: 8472},
		`{"Type":"VXLAN","vni":0,"Port":0}`:           {Port: 8472},
		`{"Type":"vxlan","VNI":16777215,"Port":4789}`: {VNI: 1<<24 - 1, Port: 4789},
		`{"Type":"vxlan","MTU":1400,"GBP":true,"DirectRouting":true,"Learning":true,"MacPrefix":"0E-2A"}`: {
			VNI: 1, Port: 8472, MTU: 1400, GBP: true, DirectRouting: true, Learning: true, MacPrefix: "0E-2A"},
	} {
		c, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":` + text + `}`))
		if err != nil || len(c.Unknown) > 0 {
			t.Errorf("%s: %v, unknown %v", text, err, c.Unknown)
			continue
		}
		if got, err := c.VXLAN(); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		`{"Type":"vxlan","VNI":16777216}`:                "Backend.VNI: 16777216 is not in 0..16777215",
		`{"Type":"vxlan","Port":65536}`:                  "Backend.Port: 65536 is not in 0..65535",
		`{"Type":"vxlan","MTU":500}`:                     "Backend.MTU: 500 is not in 576..65535",
		`{"Type":"vxlan","GBP":1}`:                       "Backend.GBP: 1 is neither true nor false",
		`{"Type":"vxlan","DirectRouting":"y"}`:           `Backend.DirectRouting: "y" is neither true nor false`,
		`{"Type":"vxlan","Learning":null,"MacPrefix":3}`: "Backend.MacPrefix: 3 is not a string",
	} {
		if _, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16","Backend":` + text + `}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	udp, err := ParseConfig([]byte(`{"Network":"10.5.0.0/16"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := udp.VXLAN(); err == nil || !strings.Contains(err.Error(), `"udp" is not vxlan`) {
		t.Errorf("options of another backend: %v", err)
	}
}
