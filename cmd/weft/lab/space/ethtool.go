package space

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of linux/ethtool.h.
const (
	ethSSFeatures = 4  // ETH_SS_FEATURES: the string set of the features' names
	ethGStringLen = 32 // ETH_GSTRING_LEN, bytes
	featureBits   = 32 // features in one block
)

// Wire names the offloads that let a veth carry superpackets whole, as no
// real wire does: what ethtool -K calls tso, gso, gro and tx-udp-segmentation.
// With all of them off, no frame is longer than the MTU.
var Wire = []string{
	"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
	"tx-generic-segmentation", "tx-udp-segmentation", "rx-gro",
}

// SetFeatures switches offloads of a link on or off, by the names that
// `ethtool -k` uses. A name that the kernel does not know is an error, and so
// is a feature that keeps its state: the link would not be what it is taken
// for. Only a feature that the link's driver does not have at all may stay off:
// a veth has tx-udp-segmentation since Linux 5.11.
func (s *Space) SetFeatures(link string, on bool, names ...string) error {
	err := s.ethtool(link, func(e *ethtool) error { return e.switchTo(on, names) })
	if err != nil {
		return fmt.Errorf("%s: %s: set offloads: %w", s.name, link, err)
	}
	return nil
}

// Features lists the offloads of a link that are on, sorted.
func (s *Space) Features(link string) (on []string, err error) {
	err = s.ethtool(link, func(e *ethtool) error {
		known, err := e.names()
		if err != nil {
			return err
		}
		_, active, err := e.states(len(known))
		if err != nil {
			return err
		}
		for i, name := range known {
			if active[i] {
				on = append(on, name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %s: read offloads: %w", s.name, link, err)
	}
	slices.Sort(on)
	return on, nil
}

// An ethtool speaks the ethtool ioctl about one link. All words of its
// requests are in the machine's byte order.
type ethtool struct {
	fd   int
	link string
}

// ethtool calls f with a socket in the namespace.
func (s *Space) ethtool(link string, f func(*ethtool) error) error {
	return s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(&ethtool{fd, link})
	})
}

// switchTo makes the named features on or off, and looks whether they are.
func (e *ethtool) switchTo(on bool, names []string) error {
	known, err := e.names()
	if err != nil {
		return err
	}
	req, err := featureRequest(known, on, names)
	if err != nil {
		return err
	}
	if err := e.call(req); err != nil {
		return err
	}
	available, active, err := e.states(len(known))
	if err != nil {
		return err
	}
	for i, name := range known {
		lacking := !available[i] && !active[i]
		if slices.Contains(names, name) && active[i] != on && !lacking {
			return fmt.Errorf("feature %s stays %v", name, active[i])
		}
	}
	return nil
}

// featureRequest builds struct ethtool_sfeatures: cmd, number of blocks, then
// for each block the mask of the bits meant and their values.
func featureRequest(known []string, on bool, names []string) ([]byte, error) {
	blocks := (len(known) + featureBits - 1) / featureBits
	req := make([]byte, 8+8*blocks)
	ne := binary.NativeEndian
	ne.PutUint32(req, unix.ETHTOOL_SFEATURES)
	ne.PutUint32(req[4:], uint32(blocks))
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fmt.Errorf("feature %s is not known to the kernel", name)
		}
		block, bit := req[8+8*(i/featureBits):], uint32(1)<<(i%featureBits)
		ne.PutUint32(block, ne.Uint32(block)|bit)
		if on {
			ne.PutUint32(block[4:], ne.Uint32(block[4:])|bit)
		}
	}
	return req, nil
}

// names asks for the names of all features, in the order of their bits.
func (e *ethtool) names() ([]string, error) {
	ne := binary.NativeEndian
	// struct ethtool_sset_info: cmd, reserved, u64 mask, one u32 of data
	info := make([]byte, 24)
	ne.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	ne.PutUint64(info[8:], 1<<ethSSFeatures)
	if err := e.call(info); err != nil {
		return nil, err
	}
	n := int(ne.Uint32(info[16:]))
	// struct ethtool_gstrings: cmd, string set, len, n names
	req := make([]byte, 12+n*ethGStringLen)
	ne.PutUint32(req, unix.ETHTOOL_GSTRINGS)
	ne.PutUint32(req[4:], ethSSFeatures)
	ne.PutUint32(req[8:], uint32(n))
	if err := e.call(req); err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		name, _, _ := bytes.Cut(req[12+i*ethGStringLen:][:ethGStringLen], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

// states asks which of the n features can be switched and which are on.
func (e *ethtool) states(n int) (available, active []bool, err error) {
	ne := binary.NativeEndian
	blocks := (n + featureBits - 1) / featureBits
	// struct ethtool_gfeatures: cmd, number of blocks, then for each block
	// the words available, requested, active, never_changed
	req := make([]byte, 8+16*blocks)
	ne.PutUint32(req, unix.ETHTOOL_GFEATURES)
	ne.PutUint32(req[4:], uint32(blocks))
	if err := e.call(req); err != nil {
		return nil, nil, err
	}
	bits := func(word int) []bool {
		set := make([]bool, n)
		for i := range set {
			set[i] = ne.Uint32(req[8+16*(i/featureBits)+4*word:])>>(i%featureBits)&1 == 1
		}
		return set
	}
	return bits(0), bits(2), nil
}

// call sends one command; the kernel answers into req.
func (e *ethtool) call(req []byte) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], e.link)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&req[0])
	ifr.data = unsafe.Pointer(&req[0])
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return fmt.Errorf("ethtool command %#x: %w", binary.NativeEndian.Uint32(req), errno)
	}
	return nil
}
