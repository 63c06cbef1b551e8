package masq

import (
	"fmt"
	"slices"
	"strings"
)

// The comments by which flannel's rules are known.
const (
	masqComment    = "flanneld masq"
	forwardComment = "flanneld forward"
)

// An xtChain is the wanted content of one of our iptables chains and of the
// built-in chain that jumps to it.
type xtChain struct {
	table, hook, name, comment string
	rules                      []string // as iptables-save writes them, from "-A" on
}

func xtChains(f family, canRandom bool) []xtChain {
	chains := []xtChain{
		{table: "nat", hook: "POSTROUTING", name: "FLANNEL-POSTRTG", comment: masqComment},
		{table: "filter", hook: "FORWARD", name: "FLANNEL-FWD", comment: forwardComment},
	}
	for i, rules := range [][]rule{f.masq, f.forward} {
		for _, r := range rules {
			r.random = r.random && canRandom
			chains[i].rules = append(chains[i].rules, r.save(chains[i].name, chains[i].comment))
		}
	}
	return chains
}

// save writes a rule as iptables-save does, which is the form that
// iptables-restore reads as well.
func (r rule) save(chain, comment string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-A %s", chain)
	if r.marked {
		fmt.Fprintf(&b, " -m mark --mark %#x/%#x", serviceMark, serviceMark)
	}
	b.WriteString(r.src.save("-s"))
	b.WriteString(r.dst.save("-d"))
	fmt.Fprintf(&b, " -m comment --comment %q -j ", comment)
	switch r.do {
	case masquerade:
		b.WriteString("MASQUERADE")
		if r.random {
			b.WriteString(" --random-fully")
		}
	case accept:
		b.WriteString("ACCEPT")
	default:
		b.WriteString("RETURN")
	}
	return b.String()
}

func (s side) save(option string) string {
	switch {
	case !s.in.IsValid():
		return ""
	case s.not:
		return fmt.Sprintf(" ! %s %v", option, s.in)
	default:
		return fmt.Sprintf(" %s %v", option, s.in)
	}
}

// An xtView is what a listing says about one of our chains. Lines are as
// iptables-save writes them.
type xtView struct {
	exists bool
	rules  []string // of our chain
	ours   []string // of the built-in chain: those with our comment
	others []string // jumps to our chain from anywhere, that are not ours
}

// view picks out of a listing by iptables-save what concerns c.
func (c xtChain) view(listing string) xtView {
	var v xtView
	comment, jump := fmt.Sprintf("--comment %q", c.comment), "-j "+c.name
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, ":"+c.name+" "):
			v.exists = true
		case strings.HasPrefix(line, "-A "+c.name+" "):
			v.rules = append(v.rules, line)
		case strings.HasPrefix(line, "-A "+c.hook+" ") && strings.Contains(line, comment):
			v.ours = append(v.ours, line)
		case strings.HasPrefix(line, "-A ") && (strings.HasSuffix(line, jump) || strings.Contains(line, jump+" ")):
			v.others = append(v.others, line)
		}
	}
	return v
}

func (v xtView) equal(w xtView) bool {
	return v.exists == w.exists && slices.Equal(v.rules, w.rules) && slices.Equal(v.ours, w.ours) && slices.Equal(v.others, w.others)
}

// empty reports whether nothing of ours is there.
func (v xtView) empty() bool { return !v.exists && len(v.ours) == 0 }

// plan returns the input for iptables-restore --noflush that turns v into c,
// or "" when v is c. Its lines take effect together. A line that declares a
// chain also empties it.
func (c xtChain) plan(v xtView) string {
	var lines []string
	if len(c.rules) > 0 {
		lines = c.planPresent(v)
	} else if !v.empty() {
		lines = c.planAbsent(v)
	}
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf("*%s\n%s\nCOMMIT\n", c.table, strings.Join(lines, "\n"))
}

func (c xtChain) planPresent(v xtView) []string {
	var lines []string
	if !v.exists || !slices.Equal(v.rules, c.rules) {
		lines = append(lines, ":"+c.name+" - [0:0]")
		lines = append(lines, c.rules...)
	}
	jump := fmt.Sprintf("-A %s -m comment --comment %q -j %s", c.hook, c.comment, c.name)
	jumps := 0
	for _, line := range v.ours {
		if line == jump {
			if jumps++; jumps == 1 {
				continue
			}
		}
		lines = append(lines, deletion(line))
	}
	if jumps == 0 {
		lines = append(lines, jump)
	}
	return lines
}

// planAbsent deletes our chain too, unless somebody else jumps to it; then the
// whole transaction would be refused, so it is only emptied.
func (c xtChain) planAbsent(v xtView) []string {
	var lines []string
	for _, line := range v.ours {
		lines = append(lines, deletion(line))
	}
	switch {
	case v.exists && len(v.others) == 0:
		lines = append(lines, "-F "+c.name, "-X "+c.name)
	case len(v.rules) > 0:
		lines = append(lines, "-F "+c.name)
	}
	return lines
}

// deletion turns a saved rule into the command that deletes it.
func deletion(line string) string { return "-D" + strings.TrimPrefix(line, "-A") }
