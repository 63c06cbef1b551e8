package tunnel

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is struct virtio_net_hdr (include/uapi/linux/virtio_net.h) in the
// machine's byte order: what remains to be done to a packet that the kernel
// hands over, or that it is asked to do.
//
//	 0       1       2       4       6       8       10
//	| flags | gso   |hdr_len|gso_size|csum_start|csum_offset|
type Offload struct {
	Flags      uint8
	GSO        uint8
	HdrLen     uint16
	GSOSize    uint16
	CsumStart  uint16
	CsumOffset uint16
}

const vnetLen = int(unsafe.Sizeof(Offload{})) // 10

// GSO types, to tell which capability a refused write was about.
const (
	gsoTCP4 = 1
	gsoTCP6 = 4
	gsoUDP  = 5
	gsoECN  = 0x80
)

// Offloads for TUNSETOFFLOAD that golang.org/x/sys/unix does not name.
const (
	tunFUSO4 = 0x20
	tunFUSO6 = 0x40
)

// A TUN is one queue of a TUN device.
type TUN struct {
	name     string
	fd       int
	nudge    int // eventfd; see Nudge
	stop     *Stopper
	features atomic.Uint32
	vnet     bool
	pace     Pace
	onDemote func(Feature, error)
}

// A Gather is the scratch memory of one loop that writes to a device.
type Gather struct {
	hdr  Offload
	iovs []unix.Iovec
	flat []byte
}

// NewGather allocates a Gather.
func NewGather() *Gather { return &Gather{iovs: make([]unix.Iovec, 0, 1024)} }

// TUNOptions says how a device is to be opened.
type TUNOptions struct {
	Name    string
	Persist bool    // keep the device, its address and routes when it is closed
	Allow   Feature // features that may be used
	Stop    *Stopper
	Pace    Pace // of the loop that reads
	// Demoted is told once when the kernel refuses at run time what it
	// agreed to at the start. It may be nil.
	Demoted func(Feature, error)
}

// OpenTUN opens the TUN device o.Name, which is created if it is not there.
// The features it offers are those of [TUN.Features].
func OpenTUN(o TUNOptions) (*TUN, error) {
	fd, err := openTunFD()
	if err != nil {
		return nil, err
	}
	t := &TUN{name: o.Name, fd: fd, stop: o.Stop, pace: o.Pace, onDemote: o.Demoted, nudge: -1}
	if err := t.setup(o); err != nil {
		unix.Close(fd)
		if t.nudge >= 0 {
			unix.Close(t.nudge)
		}
		return nil, fmt.Errorf("device %s: %w", o.Name, err)
	}
	return t, nil
}

func openTunFD() (int, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ENOENT):
		return -1, fmt.Errorf("%s: %w; load the kernel module tun, or give the container the device", path, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return -1, fmt.Errorf("%s: %w; its mode should be 0666, and a container's device rules must allow char device 10:200", path, err)
	}
	return -1, fmt.Errorf("%s: %w", path, err)
}

func (t *TUN) setup(o TUNOptions) error {
	ifr, err := unix.NewIfreq(o.Name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if o.Allow.Has(Vnet) {
		flags |= unix.IFF_VNET_HDR
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, ifr); err != nil {
		return explainSetIff(err)
	}
	if t.vnet = o.Allow.Has(Vnet); t.vnet {
		if err := unix.IoctlSetPointerInt(t.fd, unix.TUNSETVNETHDRSZ, vnetLen); err != nil {
			return fmt.Errorf("TUNSETVNETHDRSZ %d: %w", vnetLen, err)
		}
		t.features.Store(uint32(Vnet))
	}
	t.setOffload(o.Allow)
	if t.nudge, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	persist := 0
	if o.Persist {
		persist = 1
	}
	if err := unix.IoctlSetInt(t.fd, unix.TUNSETPERSIST, persist); err != nil {
		return fmt.Errorf("TUNSETPERSIST %d: %w", persist, err)
	}
	return nil
}

func explainSetIff(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("TUNSETIFF: %w; another process holds the device (is flanneld or another weft running?)", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("TUNSETIFF: %w; weft needs CAP_NET_ADMIN in this network namespace", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("TUNSETIFF: %w; a device of that name exists and is of another kind", err)
	}
	return fmt.Errorf("TUNSETIFF: %w", err)
}

// setOffload agrees with the kernel on the best set of offloads: it refuses a
// set that holds one it does not know, so the sets are tried from the best
// down, and the last always holds.
func (t *TUN) setOffload(allow Feature) {
	const tso = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	sets := []struct {
		need Feature
		bits int
	}{
		{TSO | USO, tso | tunFUSO4 | tunFUSO6},
		{TSO, tso},
		{USO, unix.TUN_F_CSUM | tunFUSO4 | tunFUSO6},
		{0, unix.TUN_F_CSUM},
	}
	if !t.vnet {
		sets = sets[:0]
	}
	for _, s := range sets {
		if !allow.Has(s.need) {
			continue
		}
		if unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, s.bits) == nil {
			t.features.Store(uint32(Vnet | s.need))
			return
		}
	}
	// Without the header, or on a kernel that knows none of it: a device that
	// was left with offloads by an earlier owner must not keep them.
	_ = unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, 0)
}

// Features returns what the device offers now.
func (t *TUN) Features() Feature { return Feature(t.features.Load()) }

// Name returns the device's name.
func (t *TUN) Name() string { return t.name }

// Close frees the queue. The loops that use it must have ended.
func (t *TUN) Close() error {
	return os.NewSyscallError("close", errors.Join(unix.Close(t.fd), unix.Close(t.nudge)))
}

// Nudge makes the Read that waits, or the next one that would, return with an
// empty batch: the reader has something else to do. It may be called from any
// goroutine until Close.
func (t *TUN) Nudge() {
	one := [8]byte{1}
	_, _ = unix.Write(t.nudge, one[:]) // it can only fail where a nudge is pending
}

// A RefusedError says that the device did not take a superpacket. The
// capability is switched off; the packets are to be written one by one.
type RefusedError struct {
	Feature Feature
	Err     error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%v refused: %v", e.Feature, e.Err) }
func (e *RefusedError) Unwrap() error { return e.Err }

// Write hands the kernel one packet or superpacket, given as a gather list.
// Several loops may write at once, each with its own Gather.
//
// It returns a *RefusedError when the device turned out not to take the kind
// of superpacket that o describes, ErrClosed after a stop, and the kernel's
// error otherwise (EIO: the link is down).
func (t *TUN) Write(g *Gather, o Offload, pieces [][]byte) error {
	g.iovs = g.iovs[:0]
	if t.vnet {
		g.hdr = o
		g.iovs = append(g.iovs, unix.Iovec{Base: (*byte)(unsafe.Pointer(&g.hdr))})
		g.iovs[0].SetLen(vnetLen)
	}
	g.iovs = setIovecs(g.iovs, pieces)
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITEV, uintptr(t.fd), uintptr(unsafe.Pointer(&g.iovs[0])), uintptr(len(g.iovs)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := t.stop.wait(t.fd, unix.POLLOUT); err != nil {
				return err
			}
		case unix.EINVAL:
			if o.GSO != 0 {
				return t.demote(o, e)
			}
			return e
		default:
			return e
		}
	}
}

// demote switches off what o needs.
func (t *TUN) demote(o Offload, err error) error {
	f := TSO
	if o.GSO&^gsoECN == gsoUDP {
		f = USO
	}
	if old := t.features.And(^uint32(f)); Feature(old).Has(f) && t.onDemote != nil {
		t.onDemote(f, err)
	}
	return &RefusedError{Feature: f, Err: err}
}
