package trace

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// findWireshark returns the path of the program.
func findWireshark() (string, error) {
	path, err := exec.LookPath("wireshark")
	if err != nil {
		return "", errors.New("--wireshark: wireshark is not installed on this machine: install the package wireshark, " +
			"or look at the packets from another one: ssh HERE weft trace -w - | wireshark -k -i -")
	}
	return path, nil
}

// wiresharkArgs let it begin at once, read standard input, and decode flannel's
// ports as what they are.
var wiresharkArgs = []string{"-k", "-i", "-", "-d", "udp.port==8472,vxlan", "-d", "udp.port==8285,ip"}

// startWireshark starts it and writes a capture to it. At the end of the trace
// the window stays until it is closed, and finish waits for that.
func startWireshark(stderr io.Writer, truePorts bool) (s sink, finish func() error, err error) {
	path, err := findWireshark()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, wiresharkArgs...)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("--wireshark: %w", err)
	}
	out := newOutput(in)
	finish = func() error {
		err := errors.Join(gone(out.Close()), in.Close())
		if wait := cmd.Wait(); wait != nil {
			err = errors.Join(err, fmt.Errorf("--wireshark: %w", wait))
		}
		return err
	}
	c, err := newCapture(out, truePorts)
	if err != nil {
		return nil, nil, errors.Join(err, finish())
	}
	return c, finish, nil
}
