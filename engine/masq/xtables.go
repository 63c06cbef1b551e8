package masq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// xtables writes our chains with the iptables programs. Reading takes one
// program for each table, writing one more, whatever the number of rules.
type xtables struct {
	prefix string // of the programs' names: PREFIX-save, PREFIX-restore, the IPv6 ones beginning with ip6
	legacy bool   // the programs write to ip_tables, not to nf_tables
	modern bool   // version 1.6.2 or later: MASQUERADE --random-fully, restore --wait
	known  map[string]*xtMemory
}

// xtMemory is what has been learnt about one of our chains.
type xtMemory struct {
	want    xtChain
	absent  bool   // unwanted, and seen not to be there
	written xtView // what was seen after the last write that did not look right
	tried   bool   // written is set
	settled bool   // written is how these programs list what we want
}

// openXtables tries the programs named iptables.
func openXtables(ctx context.Context) (place, error) {
	return openXtablesNamed(ctx, "iptables")
}

func openXtablesNamed(ctx context.Context, prefix string) (place, error) {
	ipt, err := iptables.New(iptables.Path(prefix), iptables.Timeout(10))
	if err != nil {
		return nil, err
	}
	for _, table := range []string{"nat", "filter"} {
		if _, err := ipt.ListChains(table); err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
	}
	x := &xtables{prefix: prefix, modern: ipt.HasRandomFully(), known: map[string]*xtMemory{}}
	version, err := x.run(ctx, "", prefix, "--version")
	if err != nil {
		return nil, err
	}
	x.legacy = !strings.Contains(version, "nf_tables")
	return x, nil
}

func (x *xtables) name() string { return "iptables" }

// apply goes through the four tables; trouble with one does not stop the
// others.
func (x *xtables) apply(ctx context.Context, want [2]family) (bool, error) {
	var changed bool
	var errs error
	for _, f := range want {
		for _, c := range xtChains(f, x.modern) {
			did, err := x.applyChain(ctx, f.six, c)
			changed = changed || did
			errs = errors.Join(errs, err)
		}
	}
	return changed, errs
}

// applyChain makes one chain true and checks that it came out as meant. If a
// second write ends in the same listing as the first, then the listing is how
// these programs put our rules, and it is taken as right from then on.
func (x *xtables) applyChain(ctx context.Context, six bool, c xtChain) (bool, error) {
	mem := x.memory(six, c)
	if mem.absent {
		return false, nil
	}
	wrote := false
	for range 3 {
		seen, err := x.list(ctx, six, c)
		if err != nil && len(c.rules) == 0 {
			mem.absent = true // tables that cannot be opened hold no rule of ours
			return wrote, nil
		}
		if err != nil {
			return wrote, err
		}
		input := c.plan(seen)
		if input == "" || mem.settled && seen.equal(mem.written) {
			mem.absent = len(c.rules) == 0
			return wrote, nil
		}
		if wrote {
			mem.settled = mem.tried && seen.equal(mem.written)
			mem.written, mem.tried = seen, true
			if mem.settled {
				return true, nil
			}
		}
		if err := x.restore(ctx, six, input); err != nil {
			return wrote, err
		}
		wrote = true
	}
	return wrote, fmt.Errorf("chain %s of table %s: somebody else keeps changing it", c.name, c.table)
}

func (x *xtables) memory(six bool, c xtChain) *xtMemory {
	key := program(x.prefix, six) + c.name
	mem := x.known[key]
	if mem == nil || strings.Join(mem.want.rules, "\n") != strings.Join(c.rules, "\n") {
		mem = &xtMemory{want: c}
		x.known[key] = mem
	}
	return mem
}

func (x *xtables) list(ctx context.Context, six bool, c xtChain) (xtView, error) {
	out, err := x.run(ctx, "", program(x.prefix, six)+"-save", "-t", c.table)
	return c.view(out), err
}

func (x *xtables) restore(ctx context.Context, six bool, input string) error {
	args := []string{"--noflush"}
	if x.modern {
		args = append(args, "--wait=10") // seconds, for the lock of ip_tables
	}
	_, err := x.run(ctx, input, program(x.prefix, six)+"-restore", args...)
	return err
}

// program turns "iptables" into "ip6tables" for IPv6.
func program(prefix string, six bool) string {
	if six {
		return strings.Replace(prefix, "ip", "ip6", 1)
	}
	return prefix
}

// run returns what a program prints; its complaints become the error.
func (x *xtables) run(ctx context.Context, input, name string, args ...string) (string, error) {
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaints.Bytes()))
	}
	return out.String(), nil
}
