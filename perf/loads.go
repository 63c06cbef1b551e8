package main

import (
	"errors"
	"fmt"
	"slices"

	"weft/perf/lab"
	"weft/perf/load"
	"weft/perf/plane"
	"weft/perf/report"
)

// The pods of a lab, by their place in lab.Hosts.
const (
	client = 0
	server = 1
)

// port is where the first server of a load listens.
const port = 5201

// A part is one process of a load.
type part struct {
	name string   // the role of package load
	pod  int      // client or server
	port uint16   // added to port
	args []string // of the role
}

// A loadKind is one kind of traffic between the pods.
type loadKind struct {
	name   string
	parts  []part // in the order in which they start; they stop in the reverse order
	values func(*window) (map[string]float64, error)
}

var loadKinds = []loadKind{
	{report.TCP1, stream(1), streamValues},
	{report.TCP1NoDelay, stream(1, "-nodelay"), streamValues},
	{report.TCP4, stream(4), streamValues},
	{report.RR, pair("tcp-echo", "tcp-ping"), latencyOf("tcp-ping")},
	{report.RRLoaded, append(stream(1), offset(pair("tcp-echo", "tcp-ping", "-every=1ms"), 1)...), loadedValues},
	{report.PingPong, pair("udp-echo", "udp-ping", "-size=64"), latencyOf("udp-ping")},
	{report.UDP64, pair("udp-recv", "udp-send", "-size=64"), floodValues},
	{report.UDP1400, pair("udp-recv", "udp-send", "-size=1400"), floodValues},
}

// bulk are the loads that tell most of a plane: bytes and packets.
var bulk = []string{report.TCP1, report.UDP64}

// queues are bulk, and the loads that show how long packets wait.
var queues = []string{report.TCP1, report.RR, report.RRLoaded, report.UDP64}

// usual limits the loads of some kinds of planes, so that a run does not last
// for ever. The planes of two kinds of hosts differ from those of one kind by
// what the receiver gets from the wire, which bulk shows. Those of WireGuard
// are there to be compared with each other in what their figures are about.
var usual = map[string][]string{
	plane.WeftToKernel:   bulk,
	plane.KernelToWeft:   bulk,
	plane.StockWireGuard: queues,
	plane.WeftWireGuard:  queues,
}

// limit names the only loads of the run that are made on plane s; none when
// all are. Loads that the user named are made on every plane.
func (o *options) limit(s plane.Spec) []string {
	switch {
	case o.named:
		return nil
	case s.Loads != nil:
		return s.Loads
	}
	return usual[s.Kind]
}

// makes reports whether the run makes a load on plane s.
func (o *options) makes(kind loadKind, s plane.Spec) bool {
	names := o.limit(s)
	return names == nil || slices.Contains(names, kind.name)
}

func loadNames() []string {
	var names []string
	for _, kind := range loadKinds {
		names = append(names, kind.name)
	}
	return names
}

// pair is a server and a client of it, which has the arguments.
func pair(serverRole, clientRole string, args ...string) []part {
	return []part{{name: serverRole, pod: server}, {name: clientRole, pod: client, args: args}}
}

// stream is a server and a client of n streams.
func stream(n int, args ...string) []part {
	return pair("tcp-recv", "tcp-send", append(args, fmt.Sprintf("-streams=%d", n))...)
}

// offset moves parts to another port.
func offset(parts []part, n uint16) []part {
	for i := range parts {
		parts[i].port += n
	}
	return parts
}

// start starts the part in its pod.
func (p part) start(l *lab.Lab) (*load.Process, error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{load.Command, p.name}, p.args...)
	args = append(args, fmt.Sprintf("%v:%d", l.Hosts[server].PodAddr(), port+p.port))
	cmd, err := l.Hosts[p.pod].Pod.Command(self, args...)
	if err != nil {
		return nil, err
	}
	return load.Start(p.name, cmd)
}

// errNothing is a load that moved nothing: the pods do not reach each other,
// or stopped doing so.
var errNothing = errors.New("nothing arrived in the window")

func streamValues(w *window) (map[string]float64, error) {
	received := w.roles["tcp-recv"]
	if received.bytes == 0 {
		return nil, errNothing
	}
	gigabytes := float64(received.bytes) / 1e9
	return map[string]float64{
		report.Gbps:        gigabytes * 8 / received.seconds,
		report.CPUPerGB:    w.cpu.Busy() / w.seconds * received.seconds / gigabytes,
		report.Retransmits: w.pods[client]["Tcp.RetransSegs"],
	}, nil
}

// latencyOf makes the values of a load whose client has the given role.
func latencyOf(role string) func(*window) (map[string]float64, error) {
	return func(w *window) (map[string]float64, error) {
		s := w.roles[role]
		if s.latency == nil || s.latency.Count == 0 {
			return nil, errNothing
		}
		return map[string]float64{
			report.P50:       float64(s.latency.P50) / 1e3,
			report.P99:       float64(s.latency.P99) / 1e3,
			report.PerSecond: float64(s.latency.Count) / s.seconds,
			report.Lost:      float64(s.lost),
		}, nil
	}
}

func loadedValues(w *window) (map[string]float64, error) {
	values, err := latencyOf("tcp-ping")(w)
	if err != nil {
		return nil, err
	}
	behind, err := streamValues(w)
	values[report.Gbps] = behind[report.Gbps]
	return values, err
}

func floodValues(w *window) (map[string]float64, error) {
	received, sent := w.roles["udp-recv"], w.roles["udp-send"]
	if received.packets == 0 || sent.packets == 0 {
		return nil, errNothing
	}
	in, out := float64(received.packets)/received.seconds, float64(sent.packets)/sent.seconds
	return map[string]float64{
		report.Kpps:         in / 1e3,
		report.OfferedKpps:  out / 1e3,
		report.Gbps:         float64(received.bytes) * 8 / 1e9 / received.seconds,
		report.LossPercent:  max(0, 100*(1-in/out)),
		report.Reordered:    float64(received.reordered),
		report.Refused:      float64(sent.refused),
		report.CPUPerPacket: 1e6 * w.cpu.Busy() / w.seconds / in,
	}, nil
}

// ratio is a/b, and 0 when b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
