package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// legacyTables are those of iptables-legacy that may drop packets.
var legacyTables = []string{"raw", "mangle", "filter", "security"}

// legacyChains lists these tables of iptables-legacy. It asks the kernel
// first, because the program would load the tables only to show that they are
// empty.
func (h Host) legacyChains(ctx context.Context) (out []Chain, err error) {
	for _, f := range []struct {
		names, family, program string
		proto                  iptables.Protocol
	}{
		{"ip_tables_names", "ip", "iptables", iptables.ProtocolIPv4},
		{"ip6_tables_names", "ip6", "ip6tables", iptables.ProtocolIPv6},
	} {
		names, err := h.Read("/proc/thread-self/net/" + f.names)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(filtering(names)) == 0 {
			continue
		}
		if err != nil {
			return out, err
		}
		program, err := legacyProgram(ctx, f.program)
		if err != nil {
			return out, err
		}
		ipt, err := iptables.New(iptables.IPFamily(f.proto), iptables.Path(program), iptables.Timeout(5))
		if err != nil {
			return out, err
		}
		for _, table := range filtering(names) {
			chains, err := ipt.ListChains(table)
			if err != nil {
				return out, err
			}
			for _, name := range chains {
				lines, err := ipt.List(table, name)
				if err != nil {
					return out, err
				}
				out = append(out, legacyChain(f.family, table, name, lines))
			}
		}
	}
	return out, nil
}

// filtering returns those of the kernel's list of tables that may drop packets.
func filtering(names string) []string {
	return slices.DeleteFunc(strings.Fields(names), func(t string) bool { return !slices.Contains(legacyTables, t) })
}

// legacyProgram finds the program that lists these tables.
func legacyProgram(ctx context.Context, name string) (string, error) {
	if path, err := exec.LookPath(name + "-legacy"); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("the kernel has rules, but there is no %s-legacy to list them", name)
	}
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil || strings.Contains(string(version), "nf_tables") {
		return "", fmt.Errorf("the kernel has rules, but %s lists others and there is no %[1]s-legacy", name)
	}
	return path, nil
}

// legacyChain reads what `iptables -S CHAIN` prints.
func legacyChain(family, table, name string, lines []string) Chain {
	c := Chain{Place: "iptables-legacy", Family: family, Table: table, Name: name}
	for _, line := range lines {
		words := splitRule(line)
		switch {
		case len(words) == 3 && words[0] == "-P":
			c.Hook = strings.ToLower(name)
			c.Drop = words[2] == "DROP"
		case len(words) > 2 && words[0] == "-A":
			c.Rules = append(c.Rules, legacyRule(words[2:]))
		}
	}
	return c
}

// splitRule splits a line at spaces, keeping what is in double quotes together.
func splitRule(line string) (words []string) {
	var word strings.Builder
	var quoted, any bool
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteByte(c)
		}
	}
	if any || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

// legacyRule reads the options of a rule, each with one value.
func legacyRule(words []string) (r Rule) {
	for i := 0; i < len(words); i += 2 {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "-s":
			r.Src = parsePrefix(value)
		case "-d":
			r.Dst = parsePrefix(value)
		case "-i":
			r.In = strings.Replace(value, "+", "*", 1)
		case "-o":
			r.Out = strings.Replace(value, "+", "*", 1)
		case "-p":
			r.UDP = value == "udp"
			r.Other = r.Other || !r.UDP
		case "-m":
			r.Other = r.Other || value != "comment" && value != "udp"
		case "--comment":
		case "--dport":
			port, err := strconv.ParseUint(value, 10, 16)
			r.Port = uint16(port)
			r.Other = r.Other || err != nil
		case "-j", "-g":
			r.jump(value)
			return r // what follows belongs to the target
		default:
			r.Other = true
			i-- // its number of values is not known: go on with the next word
		}
	}
	return r
}

func (r *Rule) jump(target string) {
	switch target {
	case "ACCEPT":
		r.Verdict = "accept"
	case "DROP", "REJECT":
		r.Verdict = "drop"
	case "RETURN":
	default:
		r.Verdict, r.Target = "jump", target
	}
}

// parsePrefix reads an address with or without a length; zero if it is neither.
func parsePrefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}
