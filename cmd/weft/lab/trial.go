package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"weft/cmd/weft/lab/capture"
	"weft/cmd/weft/lab/probe"
)

// A trial is one of the demo's tests.
type trial struct {
	title  string
	frames int // how many of its first frames to show
	run    func(context.Context) (row, error)
}

func (d *demo) tests() []trial {
	list := []trial{
		{fmt.Sprintf("%d pings", d.opt.Pings), 4, d.ping},
		{fmt.Sprintf("TCP, %s with SHA-256 on both ends", size(d.opt.Bytes)), 6, d.hashed},
	}
	if d.opt.Burst > 0 {
		list = append(list, trial{fmt.Sprintf("TCP, %s without hashing", d.opt.Burst), 0, d.burst})
	}
	return list
}

// A section is what was captured at one tap during one test.
type section struct {
	title  string
	tap    tap
	frames []capture.Frame
}

// A tap is a place on n1 to watch packets at.
type tap struct {
	heading string
	open    func() (*capture.Socket, error)
	explain func(capture.Frame) []string // lines
}

// taps are where the packets of a test are shown. The wire shows all of them
// but WireGuard's, which are sealed there.
func (d *demo) taps() (list []tap) {
	port, backend, device := d.lab.Port(), d.lab.cfg.BackendType, d.lab.devices()[0]
	if port == 0 {
		return nil
	}
	if backend == "wireguard" {
		list = append(list, tap{"first packets on n1's " + device, func() (*capture.Socket, error) { return capture.OpenTUN(device) },
			func(f capture.Frame) []string { return []string{capture.Bare(f)} }})
	}
	return append(list, tap{"first datagrams on n1's eth0", func() (*capture.Socket, error) { return capture.Open("eth0", uint16(port)) },
		func(f capture.Frame) []string {
			outer, inner := capture.Explain(f, backend)
			return []string{outer, "└ " + inner}
		}})
}

// watch captures at all taps until the function it returns is called, which
// returns the first n frames at each.
func (d *demo) watch(title string, n int) (seen func() []section, err error) {
	var ends []func() section
	seen = func() (list []section) {
		for _, end := range ends {
			list = append(list, end())
		}
		return list
	}
	if n == 0 {
		return seen, nil
	}
	for _, t := range d.taps() {
		var s *capture.Socket
		if err := d.lab.Nodes[0].Host.Do(func() (err error) { s, err = t.open(); return err }); err != nil {
			seen()
			return nil, err
		}
		frames := collect(s, n)
		ends = append(ends, func() section { return section{title, t, frames()} })
	}
	return seen, nil
}

// collect reads n frames from s, which it closes. The function it returns ends
// that, and returns them.
func collect(s *capture.Socket, n int) func() []capture.Frame {
	var got []capture.Frame
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.Close() // so that the rest of the test runs unwatched
		for len(got) < n {
			f, err := s.Next()
			if err != nil {
				return // closed
			}
			got = append(got, f)
		}
	}()
	return func() []capture.Frame {
		s.Close()
		<-done
		return got
	}
}

// ping sends the pings from pod to pod.
func (d *demo) ping(ctx context.Context) (row, error) {
	a, b := d.lab.Nodes[0], d.lab.Nodes[1]
	out, err := a.Pod.Exec(ctx, d.lab.Tool("ping", "-c", fmt.Sprint(d.opt.Pings), "-i", "20ms", b.PodAddr().String())...)
	var t probe.Trips
	if jsonErr := json.Unmarshal(out, &t); err == nil {
		err = jsonErr
	}
	return row{trips: &t}, err
}

func (d *demo) hashed(ctx context.Context) (row, error) {
	sent, got, err := d.transfer(ctx, "--hash", fmt.Sprintf("--bytes=%d", d.opt.Bytes))
	if err == nil && (sent.SHA256 != got.SHA256 || got.Bytes != d.opt.Bytes) {
		err = fmt.Errorf("sent %d bytes with SHA-256 %s, but %d with %s arrived", sent.Bytes, sent.SHA256, got.Bytes, got.SHA256)
	}
	return row{flow: &got, sent: sent.SHA256}, err
}

func (d *demo) burst(ctx context.Context) (row, error) {
	sent, got, err := d.transfer(ctx, "", "--time="+d.opt.Burst.String())
	if err == nil && sent.Bytes != got.Bytes {
		err = fmt.Errorf("sent %d bytes, %d arrived", sent.Bytes, got.Bytes)
	}
	return row{flow: &got}, err
}

// transfer moves one TCP stream from the pod on n1 to that on n2. hash is the
// flag for both ends, or empty.
func (d *demo) transfer(ctx context.Context, hash, limit string) (sent, got probe.Flow, err error) {
	a, b := d.lab.Nodes[0], d.lab.Nodes[1]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"recv", "--listen=" + b.PodAddr().String() + ":5001"}
	send := []string{"send", b.PodAddr().String() + ":5001", limit}
	if hash != "" {
		args, send = append(args, hash), append(send, hash)
	}
	argv := d.lab.Tool(args...)
	recv := exec.CommandContext(ctx, argv[0], argv[1:]...)
	recv.Stderr = os.Stderr
	pipe, err := recv.StdoutPipe()
	if err != nil {
		return sent, got, err
	}
	if err := b.Pod.Start(recv); err != nil {
		return sent, got, err
	}
	lines := json.NewDecoder(pipe)
	var ready Listening
	if err := lines.Decode(&ready); err != nil {
		return sent, got, errors.Join(fmt.Errorf("receiver: %w", err), recv.Wait())
	}
	out, err := a.Pod.Exec(ctx, d.lab.Tool(send...)...)
	if err == nil {
		err = json.Unmarshal(out, &sent)
	}
	if err == nil {
		err = lines.Decode(&got)
	}
	if err != nil {
		cancel() // the receiver might wait for ever
	}
	return sent, got, errors.Join(err, recv.Wait())
}
