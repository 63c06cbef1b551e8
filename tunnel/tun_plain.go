package tunnel

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// Plain is a TUN without anything clever: one packet for each read and each
// write, no virtio-net header, no superpackets. It is for kernels and
// sandboxes where offloads misbehave, and the measure of what they are worth.
type Plain struct {
	ifce *water.Interface
	file *os.File
	stop *Stopper
	done chan struct{} // closed by Close
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// OpenPlain opens the TUN device o.Name by way of songgao/water. Of the
// options Allow and Demoted are not used.
func OpenPlain(o TUNOptions) (*Plain, error) {
	if err := tryPlain(o.Name); err != nil {
		return nil, fmt.Errorf("device %s: %w", o.Name, err)
	}
	cfg := water.Config{DeviceType: water.TUN}
	cfg.Name = o.Name
	cfg.Persist = o.Persist
	ifce, err := water.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", o.Name, err)
	}
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		ifce.Close()
		return nil, fmt.Errorf("device %s: water gave a %T, not a file", o.Name, ifce.ReadWriteCloser)
	}
	p := &Plain{ifce: ifce, file: file, stop: o.Stop, done: make(chan struct{})}
	if err := p.setup(); err != nil {
		ifce.Close()
		return nil, fmt.Errorf("device %s: %w", o.Name, err)
	}
	go func() { // a deadline in the past ends the Read that is waiting
		select {
		case <-o.Stop.Done():
			_ = file.SetDeadline(past)
		case <-p.done:
		}
	}()
	return p, nil
}

// tryPlain attaches to the device and lets it go again. After a refusal water
// would leave its descriptor open, and it cuts a name that is too long.
func tryPlain(name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	fd, err := openTunFD()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return explainSetIff(err)
	}
	return nil
}

// setup mends two things that water leaves undone: the descriptor would be
// inherited by child processes, and a device that another owner left with
// offloads would go on handing out superpackets.
func (p *Plain) setup() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := conn.Control(func(fd uintptr) {
		unix.CloseOnExec(int(fd))
		e = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, 0)
	}); err != nil {
		return err
	}
	return os.NewSyscallError("TUNSETOFFLOAD 0", e)
}

// Nudge makes the Read that waits, or the next one, return with an empty batch.
func (p *Plain) Nudge() {
	_ = p.file.SetReadDeadline(past)
}

// Read waits for one packet, or for a Nudge.
func (p *Plain) Read(b *Batch) error {
	b.Packets = b.Packets[:0]
	n, err := p.ifce.Read(b.buf[Headroom : Headroom+maxPacket])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Nudges and the stop end it alike. The Stopper is looked at after the
		// deadline is taken back: a stop comes before its deadline, so it is
		// seen here, or its deadline is still to come.
		_ = p.file.SetReadDeadline(time.Time{})
		if !p.stop.Stopped() {
			return nil
		}
		_ = p.file.SetReadDeadline(past) // for the next Read
		return ErrClosed
	}
	if err != nil {
		return plainError(err)
	}
	b.Packets = append(b.Packets, Packet{Data: b.buf[Headroom : Headroom+n]})
	return nil
}

// Write hands the kernel one packet. o must describe a finished one.
func (p *Plain) Write(g *Gather, o Offload, pieces [][]byte) error {
	if o != (Offload{}) {
		return fmt.Errorf("plain device: cannot write a packet with offloads %+v", o)
	}
	g.flat = g.flat[:0]
	for _, b := range pieces {
		g.flat = append(g.flat, b...)
	}
	_, err := p.ifce.Write(g.flat)
	return plainError(err)
}

func plainError(err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
		return ErrClosed
	case errors.As(err, &errno):
		return errno
	}
	return err
}

// Features is empty.
func (p *Plain) Features() Feature { return 0 }

// Probe has nothing to find out.
func (p *Plain) Probe() error { return nil }

// Name returns the device's name.
func (p *Plain) Name() string { return p.ifce.Name() }

// Close frees the device. The loops that use it must have ended.
func (p *Plain) Close() error {
	close(p.done)
	return p.ifce.Close()
}
