package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// callTimeout is for one request to the kernel.
const callTimeout = 10 * time.Second

// maxChains is how many chains of a table are read.
const maxChains = 2000

// Chains lists the filter chains of nftables, which iptables-nft writes too,
// and those of iptables-legacy.
func (h Host) Chains(ctx context.Context) ([]Chain, error) {
	chains, err := nftChains()
	if err != nil {
		err = fmt.Errorf("nftables: %w", err)
	}
	legacy, err2 := h.legacyChains(ctx)
	if err2 != nil {
		err2 = fmt.Errorf("iptables-legacy: %w", err2)
	}
	return append(chains, legacy...), errors.Join(err, err2)
}

var nftFamilies = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}

var nftHooks = map[nftables.ChainHook]string{
	*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookPostrouting: "postrouting",
	*nftables.ChainHookForward: "forward", *nftables.ChainHookInput: "input", *nftables.ChainHookOutput: "output"}

func nftChains() (out []Chain, err error) {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetDeadline(time.Now().Add(callTimeout)) }))
	if err != nil {
		return nil, err
	}
	all, err := c.ListChains()
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fs.ErrPermission
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return nil, fs.ErrNotExist // no nf_tables in this kernel
	case err != nil:
		return nil, err
	}
	tables := filterTables(all)
	for _, ch := range all {
		key := tableKey{ch.Table.Family, ch.Table.Name}
		t, ok := tables[key]
		if !ok {
			continue
		}
		if t.read++; t.read > maxChains {
			err = fmt.Errorf("table %s %s has more than %d chains", nftFamilies[key.family], key.name, maxChains)
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if errors.Is(err, unix.ENOENT) {
			continue // deleted since
		}
		if err != nil {
			return out, fmt.Errorf("chain %s of table %s: %w", ch.Name, key.name, err)
		}
		out = append(out, t.chain(ch, rules))
	}
	return out, err
}

type tableKey struct {
	family nftables.TableFamily
	name   string
}

// An nftTable is a table in which packets are filtered.
type nftTable struct {
	place string
	read  int // chains so far
}

// filterTables finds the tables with a chain that filters at a hook of ours.
func filterTables(all []*nftables.Chain) map[tableKey]*nftTable {
	tables := map[tableKey]*nftTable{}
	for _, ch := range all {
		if ch.Hooknum == nil || nftFamilies[ch.Table.Family] == "" || nftHooks[*ch.Hooknum] == "" || ch.Type == nftables.ChainTypeNAT {
			continue
		}
		t := &nftTable{place: "nftables"}
		if ch.Table.Family != nftables.TableFamilyINet && ch.Name == strings.ToUpper(nftHooks[*ch.Hooknum]) &&
			slices.Contains([]string{"filter", "mangle", "security", "raw"}, ch.Table.Name) {
			t.place = "iptables-nft" // these are its names
		}
		tables[tableKey{ch.Table.Family, ch.Table.Name}] = t
	}
	return tables
}

func (t *nftTable) chain(ch *nftables.Chain, rules []*nftables.Rule) Chain {
	c := Chain{Place: t.place, Family: nftFamilies[ch.Table.Family], Table: ch.Table.Name, Name: ch.Name}
	if ch.Hooknum != nil && ch.Type != nftables.ChainTypeNAT {
		c.Hook = nftHooks[*ch.Hooknum]
		c.Drop = ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
	}
	for _, r := range rules {
		c.Rules = append(c.Rules, nftRule(r.Exprs))
	}
	return c
}

// An nftReader follows what expressions leave in the registers.
type nftReader struct {
	rule  Rule
	loads map[uint32]load
	proto byte // of the transport layer; 0: any
}

// A load is what lies in a register.
type load struct {
	what string // src, dst, in, out, proto, port; "" anything else
	bits int    // of the mask, if there was one
}

// nftRule understands a rule as far as the checks need it. What it does not
// understand makes the rule conditional.
func nftRule(exprs []expr.Any) Rule {
	r := nftReader{loads: map[uint32]load{}}
	for _, e := range exprs {
		r.read(e)
	}
	r.settle()
	return r.rule
}

func (r *nftReader) read(e expr.Any) {
	switch e := e.(type) {
	case *expr.Counter, *expr.Log:
	case *expr.Meta:
		r.loads[e.Register] = load{what: map[expr.MetaKey]string{expr.MetaKeyIIFNAME: "in", expr.MetaKeyOIFNAME: "out",
			expr.MetaKeyL4PROTO: "proto", expr.MetaKeyNFPROTO: "family"}[e.Key]}
	case *expr.Payload:
		r.loads[e.DestRegister] = load{what: payload(e), bits: int(e.Len) * 8}
	case *expr.Bitwise:
		l := r.loads[e.SourceRegister]
		l.bits = ones(e.Mask)
		r.loads[e.DestRegister] = l
	case *expr.Cmp:
		r.compare(r.loads[e.Register], e)
	case *expr.Match:
		r.match(e)
	case *expr.Target:
		if e.Name == "REJECT" {
			r.rule.Verdict = "drop"
		}
	case *expr.Reject:
		r.rule.Verdict = "drop"
	case *expr.Verdict:
		r.rule.Target = e.Chain
		r.rule.Verdict = map[expr.VerdictKind]string{expr.VerdictAccept: "accept", expr.VerdictDrop: "drop",
			expr.VerdictJump: "jump", expr.VerdictGoto: "jump"}[e.Kind]
	default:
		r.rule.Other = true
	}
}

// payload names the field that an expression loads: the addresses of IPv4 and
// IPv6, or a prefix of them, the protocol, the destination port.
func payload(e *expr.Payload) string {
	switch {
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2:
		return "port"
	case e.Base != expr.PayloadBaseNetworkHeader:
		return ""
	case e.Offset == 12 && e.Len <= 4:
		return "src4"
	case e.Offset == 16 && e.Len <= 4:
		return "dst4"
	case e.Offset == 8 && e.Len > 1 && e.Len <= 16:
		return "src6"
	case e.Offset == 24 && e.Len <= 16:
		return "dst6"
	case e.Offset == 9 && e.Len == 1, e.Offset == 6 && e.Len == 1:
		return "proto"
	}
	return ""
}

// ones counts the leading ones of a mask; -1 if others follow.
func ones(mask []byte) (n int) {
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return -1
		}
	}
	return n
}

// compare takes in a condition.
func (r *nftReader) compare(l load, e *expr.Cmp) {
	if e.Op != expr.CmpOpEq {
		r.rule.Other = true
		return
	}
	switch l.what {
	case "family": // said by the table already, or by an address
	case "in":
		r.rule.In = linkName(e.Data)
	case "out":
		r.rule.Out = linkName(e.Data)
	case "proto":
		r.proto = e.Data[0]
	case "port":
		r.rule.Port = binary.BigEndian.Uint16(e.Data)
	case "src4", "src6":
		r.address(&r.rule.Src, l, e.Data)
	case "dst4", "dst6":
		r.address(&r.rule.Dst, l, e.Data)
	default:
		r.rule.Other = true
	}
}

// address takes in a prefix, of which data may hold the first bytes only.
func (r *nftReader) address(p *netip.Prefix, l load, data []byte) {
	size := 4
	if strings.HasSuffix(l.what, "6") {
		size = 16
	}
	if l.bits < 0 || len(data) > size {
		r.rule.Other = true
		return
	}
	a, _ := netip.AddrFromSlice(append(slices.Clone(data), make([]byte, size-len(data))...))
	*p = netip.PrefixFrom(a, l.bits)
}

// linkName reads a name: with its final zero it is whole, without it the start
// of one.
func linkName(data []byte) string {
	name, _, exact := strings.Cut(string(data), "\x00")
	if !exact && len(data) < unix.IFNAMSIZ {
		name += "*"
	}
	return name
}

// match takes in a match of iptables.
func (r *nftReader) match(e *expr.Match) {
	info, ok := e.Info.(*xt.Unknown)
	switch {
	case e.Name == "comment":
	case e.Name == "udp" && ok && len(*info) >= 9:
		// struct xt_udp: source ports from, to; destination ports from, to; inverted
		b := []byte(*info)
		u16 := func(i int) uint16 { return binary.NativeEndian.Uint16(b[i:]) }
		if u16(0) != 0 || u16(2) != 0xffff || u16(4) != u16(6) || b[8] != 0 {
			r.rule.Other = true
			return
		}
		r.proto, r.rule.Port = unix.IPPROTO_UDP, u16(4)
	default:
		r.rule.Other = true
	}
}

// settle says what the protocol means: of those, the checks know UDP only.
func (r *nftReader) settle() {
	switch r.proto {
	case 0:
	case unix.IPPROTO_UDP:
		r.rule.UDP = true
		return
	default:
		r.rule.Other = true
	}
	if r.rule.Port != 0 { // of another protocol, or of any
		r.rule.Other = true
	}
}
