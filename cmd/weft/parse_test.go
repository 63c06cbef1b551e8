package main

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestTwoDashes(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"-iface eth0", "--iface eth0"},
		{"--iface eth0 -iface=eth1", "--iface eth0 --iface=eth1"},
		{"-iface -iface -ip-masq", "--iface -iface --ip-masq"},        // a value, then a flag
		{"-ip-masq -iface eth0", "--ip-masq --iface eth0"},            // a boolean takes no value
		{"-ip-masq false -iface eth0", "--ip-masq false -iface eth0"}, // a stray word ends it
		{"-v 2 -v=3", "-v 2 -v=3"},                                    // pflag's shorthand
		{"-vmodule=a=1 -log_backtrace_at x", "--vmodule=a=1 --log_backtrace_at x"},
		{"-iface eth0 -- -iface eth1", "--iface eth0 -- -iface eth1"},
		{"- -iface eth0", "- -iface eth0"},
		{"-unknown -iface eth0", "--unknown --iface eth0"},
		{"-iface", "--iface"},
	}
	for _, tt := range tests {
		got := twoDashes(upFlags(t), strings.Fields(tt.in))
		if want := strings.Fields(tt.want); !slices.Equal(got, want) {
			t.Errorf("%q became %q, want %q", tt.in, got, want)
		}
	}
}

// FuzzGoSyntax holds our reading of a command line against that of Go's flag
// package, which flanneld uses: whatever that takes whole, we take with the
// same meaning.
func FuzzGoSyntax(f *testing.F) {
	f.Add("-iface eth0 --iface=eth1 -ip-masq -v 2")
	f.Add("-ip-masq=false -iface -v -subnet-file=a=b --v=3")
	f.Add("-subnet-file --ip-masq --ip-masq=0 -v -1")
	f.Add("-ip-masq=T --subnet-file= -iface --")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Fields(line)
		theirs, ours := defaultOptions(), defaultOptions()

		want := flag.NewFlagSet("", flag.ContinueOnError)
		want.SetOutput(io.Discard)
		got := pflag.NewFlagSet("", pflag.ContinueOnError)
		for _, name := range []string{"iface", "ip-masq", "v", "subnet-file"} {
			r := findRow(theirs, name)
			if r.target.Type() == "bool" {
				want.Var(goBool{r.target}, name, "")
			} else {
				want.Var(r.target, name, "")
			}
			flagGroup{rows: []flagRow{findRow(ours, name)}}.addTo(got)
		}
		if want.Parse(args) != nil || want.NArg() > 0 || slices.Contains(args, "--") {
			t.Skip() // refused, or not taken whole
		}
		if err := got.Parse(twoDashes(got, args)); err != nil {
			t.Fatalf("%q: %v, but Go's flag package takes it", args, err)
		}
		want.VisitAll(func(f *flag.Flag) {
			if g := got.Lookup(f.Name).Value.String(); g != f.Value.String() {
				t.Errorf("%q: -%s is %q, with Go's flag package %q", args, f.Name, g, f.Value)
			}
		})
	})
}

// goBool lets Go's flag package know a boolean.
type goBool struct{ pflag.Value }

func (goBool) IsBoolFlag() bool { return true }

func findRow(o *options, name string) flagRow {
	for _, g := range flagTable(o) {
		for _, r := range g.rows {
			if r.name == name {
				return r
			}
		}
	}
	panic("no flag " + name)
}

func TestEnvName(t *testing.T) {
	for name, want := range map[string]string{
		"etcd-endpoints":   "FLANNELD_ETCD_ENDPOINTS",
		"v":                "FLANNELD_V",
		"log_backtrace_at": "FLANNELD_LOG_BACKTRACE_AT",
	} {
		if got := envName(name); got != want {
			t.Errorf("envName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"iface", "iface-regex", "public-ip", "public-ipv6", "v"}
	for in, want := range map[string]string{
		"ifcae":      "iface",
		"publc-ipv6": "public-ipv6",
		"x":          "", // as near to v as anything, but not alike
		"kubernetes": "",
	} {
		if got := nearest(names, in); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
