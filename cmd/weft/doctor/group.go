package doctor

import (
	"fmt"
	"slices"
	"strings"

	"weft/engine/control"
)

// manyPeers is how many peers a table lists one by one. Beyond, those of which
// the same was found share a line.
const manyPeers = 20

// group returns the checks with equal ones of peers folded into one, if there
// are many peers. A folded check has the cause and the fix of its first, and
// says how many peers it stands for in place of the name. Peers fold by verdict
// and state; findings by peers that fold, verdict and text.
func group(checks []control.Check) []control.Check {
	type key struct{ verdict, state, id, text string }
	state := map[string]key{} // of peers
	for _, c := range checks {
		if c.ID == peerRow {
			word, _, _ := strings.Cut(c.Text, "  ")
			state[c.Peer] = key{verdict: string(c.Verdict), state: word}
		}
	}
	if len(state) <= manyPeers {
		return checks
	}
	var out []control.Check
	var order []key // of peers, as they come
	rows, found := map[key][]control.Check{}, map[key][]key{}
	for _, c := range checks {
		of, known := state[c.Peer]
		switch {
		case !known:
			out = append(out, c)
			continue
		case c.ID == peerRow && rows[of] == nil:
			order = append(order, of)
		}
		k := of
		if c.ID != peerRow {
			k = key{string(c.Verdict), of.state + "/" + of.verdict, c.ID, c.Text}
			if rows[k] == nil {
				found[of] = append(found[of], k)
			}
		}
		rows[k] = append(rows[k], c)
	}
	for _, of := range order {
		out = append(out, fold(rows[of], of.state))
		for _, k := range found[of] {
			out = append(out, fold(rows[k], k.text))
		}
	}
	return out
}

// fold makes one check of those of several peers.
func fold(list []control.Check, text string) control.Check {
	c := list[0]
	if len(list) == 1 {
		return c
	}
	var names []string
	for _, x := range list[:min(3, len(list))] {
		names = append(names, x.Peer)
	}
	if n := len(list) - len(names); n > 0 {
		names = append(names, fmt.Sprintf("%d more", n))
	}
	c.Peer = fmt.Sprintf("%d peers", len(list))
	c.Text = fmt.Sprintf("%s (%s)", text, strings.Join(names, ", "))
	if c.ID != peerRow {
		c.Text = c.Peer + ": " + c.Text
	}
	return c
}

// counted returns the checks that a sum counts: the row of a peer is none of its
// own where a finding says what is wrong.
func counted(checks []control.Check) []control.Check {
	found := map[string]bool{}
	for _, c := range checks {
		found[c.Peer] = found[c.Peer] || c.ID != peerRow && wrong(c)
	}
	return slices.DeleteFunc(slices.Clone(checks), func(c control.Check) bool { return c.ID == peerRow && wrong(c) && found[c.Peer] })
}
