package plane

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	programs := Programs{
		Weft:        {"bin/weft", []string{"A=1"}, []string{"--v=1"}},
		WireGuardGo: {Program: "bin/wireguard-go"},
	}
	tests := []struct {
		text string
		want Spec
	}{
		{"old=weft:/tmp/weft.old", Spec{Name: "old", Kind: WeftUDP, Options: Options{"/tmp/weft.old", []string{"A=1"}, []string{"--v=1"}}}},
		{"p=weft-plain,env:B=2,env:C=", Spec{Name: "p", Kind: WeftPlain, Options: Options{"bin/weft", []string{"A=1", "B=2", "C="}, []string{"--v=1"}}}},
		{"x=arg:--source-check=off", Spec{Name: "x", Kind: WeftUDP, Options: Options{"bin/weft", []string{"A=1"}, []string{"--v=1", "--source-check=off"}}}},
		{"m=weft-to-kernel,weft:/x", Spec{Name: "m", Kind: WeftToKernel, Options: Options{"/x", []string{"A=1"}, []string{"--v=1"}}}},
		{"w=weft:/x,weft-wireguard", Spec{Name: "w", Kind: WeftWireGuard, Options: Options{"/x", []string{"A=1"}, []string{"--v=1"}}}},
		{"s=wireguard-go", Spec{Name: "s", Kind: StockWireGuard, Options: Options{Program: "bin/wireguard-go"}}},
		{"s=wireguard-go,wireguard-go:/x,env:GOGC=50", Spec{Name: "s", Kind: StockWireGuard, Options: Options{Program: "/x", Env: []string{"GOGC=50"}}}},
		{"r=routes", Spec{Name: "r", Kind: Routes, Options: Options{}}},
	}
	for _, tt := range tests {
		got, err := ParseSpec(tt.text, programs)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
	}
	if o := programs[Weft]; len(o.Env) != 1 || len(o.Args) != 1 {
		t.Errorf("the settings of weft were changed: %+v", o)
	}
	for _, bad := range []string{
		"", "old", "=weft-udp", "a=", "a=wireguard", "a=weft:", "a=env:B", "a=arg:",
		"a=wireguard-go,weft:/x", "a=wireguard-go:/x", "a=routes,weft:/x",
	} {
		if got, err := ParseSpec(bad, programs); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		} else if !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error does not name it: %v", bad, err)
		}
	}
}

func TestDefaultNamesEveryKind(t *testing.T) {
	specs := Default(Programs{Weft: {Program: Weft}, WireGuardGo: {Program: WireGuardGo}})
	if len(specs) != len(kinds) {
		t.Errorf("%d planes by default, %d kinds", len(specs), len(kinds))
	}
	for _, s := range specs {
		if s.New() == nil {
			t.Errorf("no plane %s", s.Kind)
		}
		want := ""
		switch {
		case strings.Contains(s.Kind, "weft"):
			want = Weft
		case s.Kind == StockWireGuard:
			want = WireGuardGo
		}
		if got := s.Options.Program; got != want {
			t.Errorf("%s runs %q, want %q", s.Kind, got, want)
		}
	}
}

func TestParseSubnetEnv(t *testing.T) {
	const good = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"
	got, err := parseSubnetEnv(good)
	if want := (SubnetEnv{netip.MustParsePrefix("10.5.7.0/24"), 1472}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{
		"", "FLANNEL_MTU=1472\n", "FLANNEL_SUBNET=10.5.7.1/24\n",
		"FLANNEL_SUBNET=10.5.7.1\nFLANNEL_MTU=1472\n", "FLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_MTU=big\n",
	} {
		if got, err := parseSubnetEnv(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}
