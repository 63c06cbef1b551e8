package masq

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// nftPlace writes tables of our own over netlink. One transaction covers both
// families. Only our two chains in them are touched, until a family has no
// rules at all: then its table goes.
type nftPlace struct{}

// An nftChain is the wanted content of a chain.
type nftChain struct {
	nftables.Chain
	rules   []rule
	comment string
}

// openNFT tries a transaction that holds every kind of expression we use and
// ends by deleting its own table, so that the kernel checks it and keeps
// nothing.
func openNFT(context.Context) (place, error) {
	c, err := dialNFT()
	if err != nil {
		return nil, err
	}
	// Without nf_tables the kernel answers a transaction once and not once
	// per message, so ask something simple first.
	if _, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4); err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	table := c.AddTable(&nftables.Table{Name: "weft-probe", Family: nftables.TableFamilyIPv4})
	some := multicast[0]
	for _, ch := range nftChains(family{masq: masqRules(some, some, some, true), forward: forwardRules(some)}, table) {
		writeChain(c, ch)
	}
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("the kernel refused a trial transaction: %w", err)
	}
	return nftPlace{}, nil
}

// dialNFT returns a connection that opens a socket for each request and gives
// up, with an error, on a kernel that does not answer.
func dialNFT() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(10 * time.Second))
	}))
}

func (nftPlace) name() string { return "nftables" }

// nftTable names the table of a family. The names are flannel's.
func nftTable(six bool) *nftables.Table {
	if six {
		return &nftables.Table{Name: "flannel-ipv6", Family: nftables.TableFamilyIPv6}
	}
	return &nftables.Table{Name: "flannel-ipv4", Family: nftables.TableFamilyIPv4}
}

func nftChains(f family, t *nftables.Table) []nftChain {
	policy := nftables.ChainPolicyAccept
	return []nftChain{{
		Chain: nftables.Chain{Name: "postrtg", Table: t, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &policy},
		rules: f.masq, comment: masqComment,
	}, {
		Chain: nftables.Chain{Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy},
		rules: f.forward, comment: forwardComment,
	}}
}

// apply reads both families before it queues anything, because a message that
// was queued and not sent would go with the next transaction.
func (nftPlace) apply(_ context.Context, want [2]family) (bool, error) {
	c, err := dialNFT()
	if err != nil {
		return false, err
	}
	var live [2]*nftLive
	for i, f := range want {
		if live[i], err = readNFT(c, nftTable(f.six)); err != nil {
			return false, err
		}
	}
	changed := false
	for i, f := range want {
		if queueFamily(c, f, live[i]) {
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	if err := c.Flush(); err != nil {
		return false, fmt.Errorf("writing tables flannel-ipv4 and flannel-ipv6: %w", err)
	}
	return true, nil
}

// nftLive is what the kernel holds in one of our tables.
type nftLive struct {
	chains map[string]*nftables.Chain
	rules  map[string][]*nftables.Rule
}

// readNFT returns nil if there is no such table.
func readNFT(c *nftables.Conn, t *nftables.Table) (*nftLive, error) {
	tables, err := c.ListTablesOfFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	found := false
	for _, have := range tables {
		found = found || have.Name == t.Name
	}
	if !found {
		return nil, nil
	}
	live := &nftLive{map[string]*nftables.Chain{}, map[string][]*nftables.Rule{}}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("listing chains: %w", err)
	}
	for _, ch := range chains {
		if ch.Table.Name != t.Name {
			continue
		}
		live.chains[ch.Name] = ch
		if live.rules[ch.Name], err = c.GetRules(t, ch); err != nil {
			return nil, fmt.Errorf("listing chain %s of table %s: %w", ch.Name, t.Name, err)
		}
	}
	return live, nil
}

// queueFamily queues what turns live into f, and reports whether that is
// anything.
func queueFamily(c *nftables.Conn, f family, live *nftLive) bool {
	t := nftTable(f.six)
	if f.empty() {
		if live != nil {
			c.DelTable(t)
		}
		return live != nil
	}
	if live == nil {
		live = &nftLive{}
	}
	c.AddTable(t) // no change if it is there; sent only if another message is
	changed := false
	for _, ch := range nftChains(f, t) {
		have := live.chains[ch.Name]
		switch {
		case len(ch.rules) == 0 && have == nil:
			continue
		case len(ch.rules) == 0:
			c.DelChain(have)
		case have == nil:
			writeChain(c, ch)
		case !sameHook(ch, have):
			c.DelChain(have)
			writeChain(c, ch)
		case !sameRules(ch, live.rules[ch.Name]):
			writeChain(c, ch)
		default:
			continue
		}
		changed = true
	}
	return changed
}

// writeChain queues a chain's replacement: packets see its old rules or its
// new ones.
func writeChain(c *nftables.Conn, ch nftChain) {
	c.AddChain(&ch.Chain)
	c.FlushChain(&ch.Chain)
	six := ch.Table.Family == nftables.TableFamilyIPv6
	for _, r := range ch.rules {
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: &ch.Chain, Exprs: r.exprs(six),
			UserData: userdata.AppendString(nil, userdata.TypeComment, ch.comment)})
	}
}

func sameHook(want nftChain, have *nftables.Chain) bool {
	return have.Type == want.Type &&
		have.Hooknum != nil && *have.Hooknum == *want.Hooknum &&
		have.Priority != nil && *have.Priority == *want.Priority &&
		have.Policy != nil && *have.Policy == *want.Policy
}

// sameRules compares rules as the bytes that the kernel would be sent.
func sameRules(want nftChain, have []*nftables.Rule) bool {
	if len(want.rules) != len(have) {
		return false
	}
	six := want.Table.Family == nftables.TableFamilyIPv6
	for i, r := range want.rules {
		if !sameExprs(byte(want.Table.Family), r.exprs(six), have[i].Exprs) {
			return false
		}
	}
	return true
}

func sameExprs(fam byte, want, have []expr.Any) bool {
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		a, errA := expr.Marshal(fam, want[i])
		b, errB := expr.Marshal(fam, have[i])
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}
