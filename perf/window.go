package main

import (
	"errors"
	"fmt"
	"time"

	"weft/perf/lab"
	"weft/perf/load"
	"weft/perf/meter"
	"weft/perf/plane"
	"weft/perf/report"
)

// A bench is a lab with a plane set up in it, ready to be measured.
type bench struct {
	spec  plane.Spec
	plane plane.Plane
	lab   *lab.Lab
	guest bool // plane and lab belong to another bench
	// traces run at the moment, one on each host.
	traces []*plane.Trace
}

// A reading is all meters at one moment.
type reading struct {
	at        time.Time
	cpu       meter.CPU
	processes []meter.Process // of the plane
	traces    []meter.Process // of those who trace it
	roleTime  float64         // user seconds of the load's processes
	hosts     [2]meter.Counters
	pods      [2]meter.Counters
	dropped   uint64 // at the plane's device, both hosts
	frames    uint64 // sent by host a to the wire
	octets    uint64 // the same in bytes
	roles     map[string]load.Snapshot
}

// read reads all meters. The processes of the load are asked first and answer
// while the others are read, so that all speak of one moment.
func (b *bench) read(roles map[string]*load.Process) (*reading, error) {
	r := &reading{at: time.Now(), roles: make(map[string]load.Snapshot)}
	for _, p := range roles {
		if err := p.Ask(); err != nil {
			return nil, err
		}
	}
	var err error
	if r.cpu, err = meter.ReadCPU(); err != nil {
		return nil, err
	}
	if err := errors.Join(b.readProcesses(r, roles), b.readNetwork(r)); err != nil {
		return nil, err
	}
	for name, p := range roles {
		if r.roles[name], err = p.Answer(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// resetPeaks forgets how much memory the plane's processes held before, so that
// the peak is that of the load to come.
func (b *bench) resetPeaks() error {
	for _, pid := range b.plane.Processes() {
		if err := meter.ResetPeak(pid); err != nil {
			return fmt.Errorf("plane %s: %w", b.spec.Name, err)
		}
	}
	return nil
}

func (b *bench) readProcesses(r *reading, roles map[string]*load.Process) error {
	for _, pid := range b.plane.Processes() {
		p, err := meter.ReadProcess(pid)
		if err != nil {
			return fmt.Errorf("plane %s: %w", b.spec.Name, err)
		}
		r.processes = append(r.processes, p)
	}
	for _, t := range b.traces {
		p, err := meter.ReadProcess(t.PID())
		if err != nil {
			return fmt.Errorf("trace of plane %s: %w", b.spec.Name, err)
		}
		r.traces = append(r.traces, p)
	}
	for _, role := range roles {
		p, err := meter.ReadProcess(role.PID())
		if err != nil {
			return err
		}
		r.roleTime += p.User
	}
	return nil
}

func (b *bench) readNetwork(r *reading) error {
	for i, h := range b.lab.Hosts {
		for space, counters := range map[*lab.Space]*meter.Counters{h.Space: &r.hosts[i], h.Pod: &r.pods[i]} {
			err := space.Do(func() (err error) {
				*counters, err = meter.ReadCounters()
				return err
			})
			if err != nil {
				return err
			}
		}
		name := b.plane.Device(i)
		device, err := h.Netlink().LinkByName(name)
		if err != nil {
			return fmt.Errorf("device %s in %s: %w", name, h.Name(), err)
		}
		r.dropped += device.Attrs().Statistics.TxDropped
	}
	wire, err := b.lab.Hosts[client].Netlink().LinkByName(lab.Underlay)
	if err != nil {
		return err
	}
	r.frames, r.octets = wire.Attrs().Statistics.TxPackets, wire.Attrs().Statistics.TxBytes
	return nil
}

// A window is the difference of two readings.
type window struct {
	seconds   float64
	cpu       meter.CPU
	plane     meter.Process  // time of all processes; memory of the largest
	traces    meter.Process  // time of all who trace the plane
	records   *plane.Records // what they were told from before the warm-up to the end; nil when nobody traced
	roleTime  float64
	hosts     [2]map[string]float64
	pods      [2]map[string]float64
	dropped   float64
	frameSize float64
	roles     map[string]roleWindow
}

// A roleWindow is what one role did in a window, by the role's own clock.
type roleWindow struct {
	seconds                                  float64
	bytes, packets, reordered, lost, refused uint64
	latency                                  *load.Quantiles
}

func difference(a, b *reading) *window {
	w := &window{
		seconds: b.at.Sub(a.at).Seconds(), cpu: b.cpu.Sub(a.cpu), roleTime: b.roleTime - a.roleTime,
		dropped: float64(b.dropped - a.dropped), roles: make(map[string]roleWindow),
		frameSize: ratio(float64(b.octets-a.octets), float64(b.frames-a.frames)),
	}
	for i := range b.processes {
		w.plane.User += b.processes[i].User - a.processes[i].User
		w.plane.System += b.processes[i].System - a.processes[i].System
		w.plane.RSS = max(w.plane.RSS, b.processes[i].RSS)
		w.plane.Peak = max(w.plane.Peak, b.processes[i].Peak)
	}
	for i := range b.traces {
		w.traces.User += b.traces[i].User - a.traces[i].User
		w.traces.System += b.traces[i].System - a.traces[i].System
	}
	for i := range b.hosts {
		w.hosts[i] = increase(a.hosts[i], b.hosts[i])
		w.pods[i] = increase(a.pods[i], b.pods[i])
	}
	for name, after := range b.roles {
		before := a.roles[name]
		w.roles[name] = roleWindow{
			seconds: float64(after.At-before.At) / 1e9, bytes: after.Bytes - before.Bytes,
			packets: after.Packets - before.Packets, reordered: after.Reordered - before.Reordered,
			lost: after.Lost - before.Lost, refused: after.Refused - before.Refused, latency: after.Latency,
		}
	}
	return w
}

func increase(a, b meter.Counters) map[string]float64 {
	d := make(map[string]float64, len(b))
	for key, v := range b {
		d[key] = float64(v) - float64(a[key])
	}
	return d
}

// common are the values that every load has.
func (w *window) common() map[string]float64 {
	const overflow = "Udp.RcvbufErrors"
	percent := func(part float64) float64 { return 100 * w.cpu.Share(part) }
	values := map[string]float64{
		report.BusyCores:    w.cpu.Busy() / w.seconds,
		report.UserShare:    percent(w.cpu.User),
		report.SystemShare:  percent(w.cpu.System),
		report.SoftIRQShare: percent(w.cpu.SoftIRQ + w.cpu.IRQ),
		report.StealShare:   percent(w.cpu.Steal),
		report.DeviceDrops:  w.dropped,
		report.HostUDPDrops: w.hosts[client][overflow] + w.hosts[server][overflow],
		report.PodUDPDrops:  w.pods[client][overflow] + w.pods[server][overflow],
		report.FrameBytes:   w.frameSize,
	}
	if w.plane.RSS > 0 {
		busy := w.plane.User + w.plane.System
		values[report.PlaneCores] = busy / w.seconds
		values[report.PlaneUser] = 100 * ratio(w.plane.User, busy)
		values[report.PlaneRSS] = float64(w.plane.RSS) / (1 << 20)
		values[report.PlanePeak] = float64(w.plane.Peak) / (1 << 20)
	}
	if w.records != nil {
		shown, lost := float64(w.records.Shown), float64(w.records.Lost)
		values[report.TraceShown] = shown
		values[report.TraceLost] = lost
		values[report.TraceLostShare] = 100 * ratio(lost, shown+lost)
		values[report.TraceCores] = (w.traces.User + w.traces.System) / w.seconds
	}
	return values
}

// Thresholds of the flags, as shares of the machine's time.
const (
	stealLimit   = 0.01 // the hypervisor ran others
	foreignLimit = 0.05 // programs that are no part of the measurement ran
)

// flags tells what makes the window doubtful.
func (w *window) flags() []string {
	var flags []string
	if s := w.cpu.Share(w.cpu.Steal); s > stealLimit {
		flags = append(flags, fmt.Sprintf("steal %.1f %%", 100*s))
	}
	// Only user time is charged to programs exactly; softirq runs on
	// behalf of whoever happens to be there.
	if s := w.cpu.Share(w.cpu.User - w.roleTime - w.plane.User - w.traces.User); s > foreignLimit {
		flags = append(flags, fmt.Sprintf("other programs %.0f %%", 100*s))
	}
	return flags
}
