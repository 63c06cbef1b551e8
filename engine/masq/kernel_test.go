package masq

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
)

func newManager(t *testing.T, o Options, mode string) *Manager {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	m, err := New(o)
	must(t, err)
	if m.Mode() != mode {
		t.Skipf("mode %s does not work here", mode)
	}
	return m
}

// holds fails the test unless p holds what r wants, to the rule.
func holds(t *testing.T, p place, r Rules) {
	t.Helper()
	want, err := wanted(r)
	must(t, err)
	changed, err := p.apply(t.Context(), want)
	must(t, err)
	if changed {
		t.Errorf("%s did not hold the rules that had been applied", p.name())
	}
}

const nftRuleset = `table ip flannel-ipv4 {
	chain postrtg {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return comment "flanneld masq"
		ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return comment "flanneld masq"
		ip saddr 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return comment "flanneld masq"
		ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "flanneld masq"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random comment "flanneld masq"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 10.5.0.0/16 accept comment "flanneld forward"
		ip daddr 10.5.0.0/16 accept comment "flanneld forward"
	}
}
table ip6 flannel-ipv6 {
	chain postrtg {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return comment "flanneld masq"
		ip6 saddr fd00:10:5:1::/64 ip6 daddr fd00:10:5::/48 return comment "flanneld masq"
		ip6 saddr fd00:10:5::/48 ip6 daddr fd00:10:5:1::/64 return comment "flanneld masq"
		ip6 saddr != fd00:10:5::/48 ip6 daddr fd00:10:5:1::/64 return comment "flanneld masq"
		ip6 saddr fd00:10:5::/48 ip6 daddr != ff00::/8 masquerade fully-random comment "flanneld masq"
		ip6 saddr != fd00:10:5::/48 ip6 daddr fd00:10:5::/48 masquerade fully-random comment "flanneld masq"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip6 saddr fd00:10:5::/48 accept comment "flanneld forward"
		ip6 daddr fd00:10:5::/48 accept comment "flanneld forward"
	}
}
`

func TestNFTablesInTheKernel(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		m := newManager(t, Options{NFTables: true}, "nftables")
		must(t, m.Apply(t.Context(), dual()))
		holds(t, m.use, dual())
		if got := run(t, "nft", "list", "ruleset"); got != nftRuleset {
			t.Errorf("nft prints:\n%s\nwant:\n%s", got, nftRuleset)
		}

		r := dual()
		r.Network6, r.Subnet6, r.Forward = netip.Prefix{}, netip.Prefix{}, false
		r.Network, r.Subnet = netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("10.9.1.0/24")
		must(t, m.Apply(t.Context(), r))
		holds(t, m.use, r)
		got := run(t, "nft", "list", "ruleset")
		for _, gone := range []string{"flannel-ipv6", "chain forward", "10.5."} {
			if strings.Contains(got, gone) {
				t.Errorf("%s is still there:\n%s", gone, got)
			}
		}

		must(t, m.Remove(t.Context()))
		if got := run(t, "nft", "list", "ruleset"); got != "" {
			t.Errorf("after Remove:\n%s", got)
		}
	})
}

// Whatever others do to our tables is seen and put right.
func TestNFTablesRepair(t *testing.T) {
	tampering := map[string]string{
		"rules flushed":  "flush chain ip flannel-ipv4 postrtg",
		"table deleted":  "delete table ip6 flannel-ipv6",
		"rule added":     "insert rule ip flannel-ipv4 forward drop",
		"chain deleted":  "flush chain ip flannel-ipv4 forward; delete chain ip flannel-ipv4 forward",
		"policy changed": "add chain ip flannel-ipv4 forward { policy drop; }",
		"hook changed": "delete chain ip flannel-ipv4 forward; " +
			"add chain ip flannel-ipv4 forward { type filter hook input priority 0; }",
	}
	inNamespaces(t, func(t *testing.T) {
		m := newManager(t, Options{NFTables: true}, "nftables")
		must(t, m.Apply(t.Context(), dual()))
		for name, commands := range tampering {
			run(t, "nft", commands)
			want, err := wanted(dual())
			must(t, err)
			if changed, err := m.use.apply(t.Context(), want); err != nil || !changed {
				t.Errorf("%s: changed %v, err %v", name, changed, err)
			}
			if got := run(t, "nft", "list", "ruleset"); sorted(got) != sorted(nftRuleset) {
				t.Errorf("%s: afterwards:\n%s", name, got)
			}
			holds(t, m.use, dual())
		}
	})
}

// sorted tells rulesets apart by their lines, whatever order chains are in; the
// order of rules is for holds to check.
func sorted(ruleset string) string {
	return strings.Join(slices.Sorted(strings.Lines(ruleset)), "")
}

// Run hears of a change from the kernel, long before its resync.
func TestNFTablesRunRepairsByEvent(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		m := newManager(t, Options{NFTables: true, Resync: time.Hour}, "nftables")
		must(t, m.Apply(t.Context(), dual()))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()

		notes, err := nftPlace{}.watch(ctx)
		must(t, err)
		c, err := dialNFT()
		must(t, err)
		c.DelTable(nftTable(false))
		must(t, c.Flush())
		deadline := time.After(20 * time.Second)
		for m.Repairs() == 0 {
			select {
			case <-notes: // of the deletion, then of the repair
			case <-time.After(100 * time.Millisecond): // the counter moves after the note
			case <-deadline:
				t.Fatal("the deleted table did not come back")
			}
		}
		cancel()
		must(t, <-done)
		holds(t, m.use, dual())
	})
}

// xtVariants runs f with the programs that write to nf_tables and with those
// that write to ip_tables.
func xtVariants(t *testing.T, f func(t *testing.T, x *xtables)) {
	for _, prefix := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(prefix, func(t *testing.T) {
			p, err := openXtablesNamed(t.Context(), prefix)
			if err != nil {
				t.Skipf("%s does not work here: %v", prefix, err)
			}
			f(t, p.(*xtables))
		})
	}
}

// save returns the rules of one family, all tables, without comments and
// counters.
func save(t *testing.T, x *xtables, six bool) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(run(t, program(x.prefix, six)+"-save")) {
		if strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":FLANNEL") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestIptablesInTheKernel(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		xtVariants(t, func(t *testing.T, x *xtables) {
			m := &Manager{log: slog.New(slog.DiscardHandler), use: x}
			// What an early flannel wrote, and a rule of somebody else.
			run(t, x.prefix, "-t", "nat", "-A", "POSTROUTING", "-s", "10.9.0.0/16", "-m", "comment", "--comment", "flanneld masq", "-j", "MASQUERADE")
			run(t, x.prefix, "-t", "nat", "-A", "POSTROUTING", "-o", "eth9", "-j", "MASQUERADE")
			must(t, m.Apply(t.Context(), dual()))
			holds(t, x, dual())

			own := "-A POSTROUTING -o eth9 -j MASQUERADE\n"
			nat, filter := ":FLANNEL-POSTRTG - [0:0]\n", ":FLANNEL-FWD - [0:0]\n"
			jumpFwd := "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n"
			wantLines := nat + own + jumpLine + "\n" + masq4Lines + filter + jumpFwd + forward4Lines
			if got := save(t, x, false); sorted(got) != sorted(wantLines) {
				t.Errorf("IPv4:\n%s\nwant:\n%s", got, wantLines)
			}
			wantLines = nat + jumpLine + "\n" + masq6Lines + filter + jumpFwd + forward6Lines
			if got := save(t, x, true); sorted(got) != sorted(wantLines) {
				t.Errorf("IPv6:\n%s\nwant:\n%s", got, wantLines)
			}

			run(t, x.prefix, "-t", "nat", "-D", "FLANNEL-POSTRTG", "1")
			run(t, x.prefix, "-t", "filter", "-F", "FORWARD")
			m.check(t.Context())
			if m.Repairs() != 1 {
				t.Errorf("%d repairs after tampering, want 1", m.Repairs())
			}
			holds(t, x, dual())

			must(t, m.Remove(t.Context()))
			if got := save(t, x, false) + save(t, x, true); got != own {
				t.Errorf("after Remove:\n%s", got)
			}
			run(t, x.prefix, "-t", "nat", "-F")
		})
	})
}

// A start in one mode removes what another mode left, jumps included, and
// nothing else.
func TestModeSwitch(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		newManager(t, Options{}, "iptables")
		nft := newManager(t, Options{NFTables: true}, "nftables")
		t.Run("from nftables", func(t *testing.T) {
			must(t, nft.Apply(t.Context(), dual()))
			m := newManager(t, Options{}, "iptables")
			must(t, m.Apply(t.Context(), dual()))
			if got := run(t, "nft", "list", "tables"); strings.Contains(got, "flannel") {
				t.Errorf("tables left behind:\n%s", got)
			}
			holds(t, m.use, dual())
			must(t, m.Remove(t.Context()))
		})
		xtVariants(t, func(t *testing.T, x *xtables) {
			want, err := wanted(dual())
			must(t, err)
			_, err = x.apply(t.Context(), want)
			must(t, err)
			run(t, x.prefix, "-t", "filter", "-A", "FORWARD", "-o", "eth9", "-j", "ACCEPT")
			m := newManager(t, Options{NFTables: true}, "nftables")
			must(t, m.Apply(t.Context(), dual()))
			if got := save(t, x, false) + save(t, x, true); got != "-A FORWARD -o eth9 -j ACCEPT\n" {
				t.Errorf("left behind:\n%s", got)
			}
			holds(t, m.use, dual())
			must(t, m.Remove(t.Context()))
			run(t, x.prefix, "-t", "filter", "-F")
		})
	})
}

// A place that is switched off gives way to the other, and keeps what it holds.
func TestSwitchedOff(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		xt := newManager(t, Options{NFTables: true, NoNFT: true}, "iptables")
		nft := newManager(t, Options{NoIPTables: true}, "nftables")
		must(t, xt.Apply(t.Context(), dual()))
		must(t, nft.Apply(t.Context(), dual()))
		holds(t, xt.use, dual())
		must(t, xt.Apply(t.Context(), dual()))
		holds(t, nft.use, dual())
	})
}

// Changes to other people's tables are none of our business.
func TestWatchHearsOnlyOfOurs(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		m := newManager(t, Options{NFTables: true}, "nftables")
		notes, err := nftPlace{}.watch(t.Context())
		must(t, err)
		c, err := dialNFT()
		must(t, err)
		c.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyIPv4})
		must(t, c.Flush())
		select {
		case <-notes:
			t.Error("a note about another table came through")
		case <-time.After(50 * time.Millisecond):
		}
		must(t, m.Apply(t.Context(), dual()))
		select {
		case <-notes:
		case <-time.After(10 * time.Second):
			t.Error("no note about our own table")
		}
	})
}
