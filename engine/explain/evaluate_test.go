package explain

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// hand makes a ruleset of one table by hand, for what this kernel may not take.
// The chain "base" is at the forward hook, with the policy accept.
func hand(chains map[string][][]expr.Any) *ruleset {
	rs := &ruleset{rules: map[chainID][]*nftables.Rule{}}
	table, hook, policy := &nftables.Table{Name: "t", Family: nftables.TableFamilyIPv4}, nftables.ChainHook(unix.NF_INET_FORWARD), nftables.ChainPolicyAccept
	for name, rules := range chains {
		c := &nftables.Chain{Name: name, Table: table}
		if name == "base" {
			c.Hooknum, c.Policy, c.Type = &hook, &policy, nftables.ChainTypeFilter
		}
		rs.chains = append(rs.chains, c)
		for _, x := range rules {
			rs.rules[idOf(c)] = append(rs.rules[idOf(c)], &nftables.Rule{Exprs: x})
		}
	}
	return rs
}

func TestEvaluate(t *testing.T) {
	verdict := func(k expr.VerdictKind, chain string) expr.Any { return &expr.Verdict{Kind: k, Chain: chain} }
	load := func(base expr.PayloadBase, offset, n uint32) expr.Any {
		return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: base, Offset: offset, Len: n}
	}
	equals := func(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }
	drop := verdict(expr.VerdictDrop, "")
	for name, c := range map[string]struct {
		chains map[string][][]expr.Any
		want   string
		text   string
	}{
		"queue":               {map[string][][]expr.Any{"base": {{verdict(expr.VerdictQueue, "")}}}, "unknown", "program"},
		"queue of xtables":    {map[string][][]expr.Any{"base": {{&expr.Target{Name: "NFQUEUE"}}}}, "unknown", "program"},
		"continue":            {map[string][][]expr.Any{"base": {{verdict(expr.VerdictContinue, "")}, {drop}}}, "drop", "rule 2"},
		"a loop of jumps":     {map[string][][]expr.Any{"base": {{verdict(expr.VerdictJump, "a")}}, "a": {{verdict(expr.VerdictJump, "a")}}}, "unknown", ""},
		"an empty chain":      {map[string][][]expr.Any{"base": {{verdict(expr.VerdictJump, "a")}, {drop}}, "a": nil}, "drop", "base: rule 2"},
		"a known port":        {map[string][][]expr.Any{"base": {{load(expr.PayloadBaseTransportHeader, 2, 2), equals(0, 80), drop}}}, "drop", ""},
		"an unknown port":     {map[string][][]expr.Any{"base": {{load(expr.PayloadBaseTransportHeader, 0, 2), equals(0, 80), drop}}}, "unknown", "rule 1"},
		"beyond the header":   {map[string][][]expr.Any{"base": {{load(expr.PayloadBaseNetworkHeader, 18, 8), equals(0), drop}}}, "unknown", ""},
		"one no outweighs":    {map[string][][]expr.Any{"base": {{&expr.Limit{}, load(expr.PayloadBaseTransportHeader, 2, 2), equals(0, 81), drop}}}, "accept", ""},
		"a target of xtables": {map[string][][]expr.Any{"base": {{&expr.Target{Name: "REJECT"}}}}, "drop", "rejects"},
		"a match of xtables":  {map[string][][]expr.Any{"base": {{&expr.Match{Name: "physdev"}, drop}}}, "unknown", ""},
		"both ways the same":  {map[string][][]expr.Any{"base": {{&expr.Limit{}, drop}, {drop}}}, "drop", ""},
	} {
		if j := hand(c.chains).judge(forwarded); j.Verdict != c.want || !strings.Contains(j.Text, c.text) {
			t.Errorf("%s: %+v, want %s, …%s…", name, j, c.want, c.text)
		}
	}
}

// Tables of iptables-legacy make an acceptance doubtful, and never a drop.
func TestLegacy(t *testing.T) {
	accept, drop := Judgement{"accept", "nft"}, Judgement{"drop", "nft"}
	for _, c := range []struct {
		j       Judgement
		tables  string
		err     error
		verdict string
		text    string
	}{
		{accept, "", fs.ErrNotExist, "accept", "nft"},
		{accept, "nat\n", nil, "accept", "nft"},
		{accept, "nat\nmangle\nraw\n", nil, "unknown", "cannot be read (mangle, raw)"},
		{accept, "nat\nfilter\n", nil, "unknown", "ip6tables-legacy has tables that cannot be read (filter)"},
		{accept, "", fs.ErrPermission, "unknown", "ip6tables-legacy was not looked at: permission denied"},
		{drop, "filter\n", nil, "drop", "nft"},
	} {
		got := withLegacy(c.j, true, func(file string) ([]byte, error) {
			if file != "/proc/thread-self/net/ip6_tables_names" {
				t.Errorf("reads %s", file)
			}
			return []byte(c.tables), c.err
		})
		if got.Verdict != c.verdict || !strings.Contains(got.Text, c.text) {
			t.Errorf("%+v with %q, %v: %+v, want %s, …%s…", c.j, c.tables, c.err, got, c.verdict, c.text)
		}
	}
}
