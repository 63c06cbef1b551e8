package masq

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// leftovers returns the places other than the one in use in which flanneld, or
// weft in another mode, may have left rules. There are three in all: our
// tables in nf_tables, iptables chains in nf_tables, and iptables chains in
// the older ip_tables. Those that o switches off are left alone.
func leftovers(ctx context.Context, use place, o Options) []place {
	x, usesXT := use.(*xtables)
	var others []place
	if !o.NoNFT && nftWorks(ctx) { // else nf_tables holds nothing we could remove
		if usesXT {
			others = append(others, nftPlace{})
		}
		if (!usesXT || x.legacy) && !o.NoIPTables {
			others = append(others, xtInNFT{})
		}
	}
	if (!usesXT || !x.legacy) && !o.NoIPTables && legacyInUse() {
		if p := openLegacy(ctx); p != nil {
			others = append(others, p)
		}
	}
	return others
}

func nftWorks(ctx context.Context) bool {
	_, err := openNFT(ctx)
	return err == nil
}

// legacyInUse reports whether ip_tables holds a table with chains of ours in
// this network namespace. Asking the programs instead would create the tables.
func legacyInUse() bool {
	for _, file := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		names, err := os.ReadFile(file)
		if err != nil {
			continue // ip_tables is not in this kernel, or not ours to touch
		}
		for name := range strings.FieldsSeq(string(names)) {
			if name == "nat" || name == "filter" {
				return true
			}
		}
	}
	return false
}

// openLegacy finds programs that write to ip_tables, under either name.
func openLegacy(ctx context.Context) place {
	for _, prefix := range []string{"iptables-legacy", "iptables"} {
		if p, err := openXtablesNamed(ctx, prefix); err == nil && p.(*xtables).legacy {
			return p
		}
	}
	return nil
}

// xtInNFT is the chains that iptables-nft wrote, reached over netlink so that
// they can be removed on a host, or in a container, without that program. It
// only knows how to remove.
type xtInNFT struct{}

func (xtInNFT) name() string { return "iptables (nf_tables)" }

func (xtInNFT) apply(_ context.Context, want [2]family) (bool, error) {
	c, err := dialNFT()
	if err != nil {
		return false, err
	}
	changed := false
	for _, f := range want {
		for _, ch := range xtChains(family{six: f.six}, false) {
			did, err := queueRemoval(c, f.six, ch)
			if err != nil {
				return false, fmt.Errorf("table %s: %w", ch.table, err)
			}
			changed = changed || did
		}
	}
	if !changed {
		return false, nil
	}
	return true, c.Flush()
}

// queueRemoval queues the removal of one chain and of the jumps to it.
func queueRemoval(c *nftables.Conn, six bool, want xtChain) (bool, error) {
	t := &nftables.Table{Name: want.table, Family: nftTable(six).Family}
	live, err := readNFT(c, t)
	if err != nil || live == nil || live.chains[want.name] == nil {
		return false, err
	}
	for _, r := range live.rules[want.hook] {
		if !slices.ContainsFunc(r.Exprs, jumpTo(want.name)) {
			continue
		}
		if err := c.DelRule(&nftables.Rule{Table: t, Chain: live.chains[want.hook], Handle: r.Handle}); err != nil {
			return false, err
		}
	}
	c.FlushChain(live.chains[want.name])
	c.DelChain(live.chains[want.name])
	return true, nil
}

func jumpTo(chain string) func(expr.Any) bool {
	return func(e expr.Any) bool {
		v, ok := e.(*expr.Verdict)
		return ok && v.Kind == expr.VerdictJump && v.Chain == chain
	}
}
