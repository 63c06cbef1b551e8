package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Filter judges a packet by the chains of nftables, which are those of
// iptables-nft too, at all hooks on its way: see [Passage]. All of
// them must accept it. The tables of iptables-legacy cannot be read so; where
// there is one, the judgement is "unknown".
func (Host) Filter(ctx context.Context, p Passage) (Judgement, error) {
	if err := ctx.Err(); err != nil {
		return Judgement{}, err
	}
	rs, err := readRules(p.Dst.Is6())
	if err != nil {
		return Judgement{}, err
	}
	return withLegacy(rs.judge(p), p.Dst.Is6(), os.ReadFile), nil
}

// withLegacy is j in the light of the kernel's list of iptables-legacy's tables,
// which root alone may read on most hosts.
func withLegacy(j Judgement, six bool, read func(string) ([]byte, error)) Judgement {
	file, name := "ip_tables_names", "iptables-legacy"
	if six {
		file, name = "ip6_tables_names", "ip6tables-legacy"
	}
	tables, err := read("/proc/thread-self/net/" + file)
	filters := func(table string) bool { return table != "nat" }
	switch {
	case j.Verdict != "accept" || errors.Is(err, fs.ErrNotExist): // no such kernel module
	case err != nil:
		j = Judgement{Verdict: "unknown", Text: fmt.Sprintf("%s was not looked at: %v; %s", name, err, j.Text)}
	case slices.ContainsFunc(strings.Fields(string(tables)), filters):
		list := slices.DeleteFunc(strings.Fields(string(tables)), func(t string) bool { return !filters(t) })
		j = Judgement{Verdict: "unknown", Text: fmt.Sprintf("%s has tables that cannot be read (%s); %s", name, strings.Join(list, ", "), j.Text)}
	}
	return j
}

// A ruleset is what of nftables concerns a family.
type ruleset struct {
	chains []*nftables.Chain
	rules  map[chainID][]*nftables.Rule
}

// A chainID is a chain's place.
type chainID struct {
	family      nftables.TableFamily
	table, name string
}

func idOf(c *nftables.Chain) chainID { return chainID{c.Table.Family, c.Table.Name, c.Name} }

// readRules reads the filter chains that may see packets of a family, and all
// chains that they may jump to.
func readRules(six bool) (*ruleset, error) {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(callTimeout))
	}))
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing the chains of nftables: %w", err)
	}
	family := nftables.TableFamilyIPv4
	if six {
		family = nftables.TableFamilyIPv6
	}
	rs := &ruleset{rules: map[chainID][]*nftables.Rule{}}
	for _, ch := range chains {
		if ch.Table.Family != family && ch.Table.Family != nftables.TableFamilyINet {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return nil, fmt.Errorf("listing chain %s of table %s: %w", ch.Name, ch.Table.Name, err)
		}
		rs.chains = append(rs.chains, ch)
		rs.rules[idOf(ch)] = rules
	}
	return rs, nil
}

// A hook is a place where the kernel asks chains about a packet.
type hook struct {
	num  nftables.ChainHook
	name string
}

var (
	prerouting  = hook{unix.NF_INET_PRE_ROUTING, "prerouting"}
	input       = hook{unix.NF_INET_LOCAL_IN, "input"}
	forward     = hook{unix.NF_INET_FORWARD, "forward"}
	output      = hook{unix.NF_INET_LOCAL_OUT, "output"}
	postrouting = hook{unix.NF_INET_POST_ROUTING, "postrouting"}
)

// hooks are those that the packet meets, in their order.
func (p Passage) hooks() []hook {
	switch {
	case p.In == "":
		return []hook{output, postrouting}
	case p.Out == "":
		return []hook{prerouting, input}
	}
	return []hook{prerouting, forward, postrouting}
}

// base returns the chains that filter at a hook in the order in which the kernel
// asks them. Those of type route, as iptables' mangle OUTPUT, may drop too.
func (rs *ruleset) base(at hook) (chains []*nftables.Chain) {
	for _, c := range rs.chains {
		if c.Hooknum != nil && *c.Hooknum == at.num && (c.Type == nftables.ChainTypeFilter || c.Type == nftables.ChainTypeRoute) {
			chains = append(chains, c)
		}
	}
	slices.SortStableFunc(chains, func(a, b *nftables.Chain) int { return priority(a) - priority(b) })
	return chains
}

func priority(c *nftables.Chain) int {
	if c.Priority == nil {
		return 0
	}
	return int(*c.Priority)
}

// judge asks the chains at each hook that the packet meets.
func (rs *ruleset) judge(p Passage) Judgement {
	var passed, names []string
	unknown := ""
	for _, h := range p.hooks() {
		names = append(names, h.name)
		chains := rs.base(h)
		for _, c := range chains {
			e := &evaluation{rules: rs.rules, packet: newPacket(p).at(h, priority(c))}
			switch out := e.base(c); {
			case out == drops:
				return Judgement{Verdict: "drop", Text: "nft " + e.why}
			case out != accepts && unknown == "":
				unknown = "nft " + e.why
			}
		}
		if len(chains) > 0 {
			passed = append(passed, h.name+": "+describe(chains))
		}
	}
	switch {
	case unknown != "":
		return Judgement{Verdict: "unknown", Text: unknown}
	case len(passed) == 0:
		return Judgement{Verdict: "accept", Text: "nft has no chain on the way (" + strings.Join(names, ", ") + ")"}
	}
	return Judgement{Verdict: "accept", Text: "nft " + strings.Join(passed, "; ")}
}

// describe names chains.
func describe(chains []*nftables.Chain) string {
	var b bytes.Buffer
	for i, c := range chains {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(chainName(c))
	}
	return b.String()
}

// chainName names a chain as nft(8) does.
func chainName(c *nftables.Chain) string {
	family := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}[c.Table.Family]
	return family + " " + c.Table.Name + " " + c.Name
}
