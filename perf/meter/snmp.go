package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Counters are protocol counters by name, for example "Udp.RcvbufErrors" and
// "Tcp.RetransSegs" (RFC 4113 and RFC 4022; net/ipv4/proc.c).
type Counters map[string]uint64

// ReadCounters reads the protocol counters of the network namespace that the
// calling thread is in.
func ReadCounters() (Counters, error) {
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return nil, err
	}
	return parseCounters(text)
}

// parseCounters reads pairs of lines, names above values:
//
//	Udp: InDatagrams NoPorts
//	Udp: 17 4
//
// Values that are negative (Tcp.MaxConn) are left out.
func parseCounters(text []byte) (Counters, error) {
	counters := make(Counters)
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	if len(lines)%2 != 0 {
		return nil, fmt.Errorf("net/snmp: %d lines, want pairs of names and values", len(lines))
	}
	for i := 0; i < len(lines); i += 2 {
		names, values := bytes.Fields(lines[i]), bytes.Fields(lines[i+1])
		if len(names) == 0 || len(names) != len(values) || !bytes.Equal(names[0], values[0]) {
			return nil, fmt.Errorf("net/snmp: line %q does not name the values of %q", lines[i], lines[i+1])
		}
		group := bytes.TrimSuffix(names[0], []byte(":"))
		for j := 1; j < len(names); j++ {
			v, err := strconv.ParseInt(string(values[j]), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("net/snmp: %s.%s: %w", group, names[j], err)
			}
			if v >= 0 {
				counters[fmt.Sprintf("%s.%s", group, names[j])] = uint64(v)
			}
		}
	}
	return counters, nil
}
