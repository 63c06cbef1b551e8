package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads are the kernel's names of the device features that WireLike
// switches off: what ethtool -K calls tso, gso, gro and tx-udp-segmentation.
var offloads = []string{
	"tx-tcp-segmentation",
	"tx-tcp-ecn-segmentation",
	"tx-tcp-mangleid-segmentation",
	"tx-tcp6-segmentation",
	"tx-generic-segmentation",
	"tx-udp-segmentation",
	"rx-gro",
}

const (
	featureSet  = 4  // ETH_SS_FEATURES, linux/ethtool.h
	stringSize  = 32 // ETH_GSTRING_LEN
	featureBits = 32 // features per block of ethtool_gfeatures
)

// SetFeatures switches device features, named as the kernel names them, on or
// off. A name that the kernel does not know is an error, and so is a feature
// that keeps its state, since the wire would not be what its name says.
func (s *Space) SetFeatures(device string, names []string, on bool) error {
	err := s.ethtool(device, func(e *ethtoolSocket) error {
		all, err := e.names()
		if err != nil {
			return err
		}
		if err := e.set(all, names, on); err != nil {
			return err
		}
		active, err := e.active(len(all))
		if err != nil {
			return err
		}
		for i, name := range all {
			if slices.Contains(names, name) && active[i] != on {
				return fmt.Errorf("feature %s stays %v", name, active[i])
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("features of %s in %s: %w", device, s.Name, err)
	}
	return nil
}

// Features lists the active device features, sorted.
func (s *Space) Features(device string) ([]string, error) {
	var on []string
	err := s.ethtool(device, func(e *ethtoolSocket) error {
		all, err := e.names()
		if err != nil {
			return err
		}
		active, err := e.active(len(all))
		for i, name := range all {
			if err == nil && active[i] {
				on = append(on, name)
			}
		}
		return err
	})
	slices.Sort(on)
	return on, err
}

// An ethtoolSocket speaks the ethtool ioctl about one device.
type ethtoolSocket struct {
	fd     int
	device string
}

// ethtool calls f with a socket inside the namespace.
func (s *Space) ethtool(device string, f func(*ethtoolSocket) error) error {
	return s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(&ethtoolSocket{fd, device})
	})
}

// call passes one ethtool command in buf; the kernel answers in place.
func (e *ethtoolSocket) call(what string, buf []byte) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], e.device)
	ifr.data = unsafe.Pointer(unsafe.SliceData(buf))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return fmt.Errorf("ethtool %s: %w", what, errno)
	}
	return nil
}

// names asks for the names of all features, in the order of their bits.
func (e *ethtoolSocket) names() ([]string, error) {
	ne := binary.NativeEndian
	info := make([]byte, 4+4+8+4) // cmd, reserved, sset_mask, data[0]
	ne.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	ne.PutUint64(info[8:], 1<<featureSet)
	if err := e.call("GSSET_INFO", info); err != nil {
		return nil, err
	}
	n := int(ne.Uint32(info[16:]))
	buf := make([]byte, 12+n*stringSize) // cmd, string_set, len, data
	ne.PutUint32(buf, unix.ETHTOOL_GSTRINGS)
	ne.PutUint32(buf[4:], featureSet)
	ne.PutUint32(buf[8:], uint32(n))
	if err := e.call("GSTRINGS", buf); err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		field := buf[12+i*stringSize:][:stringSize]
		name, _, _ := bytes.Cut(field, []byte{0})
		names[i] = strings.TrimSpace(string(name))
	}
	return names, nil
}

// active asks which of the n features are switched on.
func (e *ethtoolSocket) active(n int) ([]bool, error) {
	ne := binary.NativeEndian
	blocks := (n + featureBits - 1) / featureBits
	buf := make([]byte, 8+blocks*16) // cmd, size, {available, requested, active, never_changed}
	ne.PutUint32(buf, unix.ETHTOOL_GFEATURES)
	ne.PutUint32(buf[4:], uint32(blocks))
	if err := e.call("GFEATURES", buf); err != nil {
		return nil, err
	}
	on := make([]bool, n)
	for i := range on {
		word := ne.Uint32(buf[8+i/featureBits*16+8:])
		on[i] = word>>(i%featureBits)&1 == 1
	}
	return on, nil
}

// set requests names to be on or off.
func (e *ethtoolSocket) set(all, names []string, on bool) error {
	ne := binary.NativeEndian
	blocks := (len(all) + featureBits - 1) / featureBits
	buf := make([]byte, 8+blocks*8) // cmd, size, {valid, requested}
	ne.PutUint32(buf, unix.ETHTOOL_SFEATURES)
	ne.PutUint32(buf[4:], uint32(blocks))
	found := 0
	for i, name := range all {
		if !slices.Contains(names, name) {
			continue
		}
		found++
		block := buf[8+i/featureBits*8:]
		bit := uint32(1) << (i % featureBits)
		ne.PutUint32(block, ne.Uint32(block)|bit)
		if on {
			ne.PutUint32(block[4:], ne.Uint32(block[4:])|bit)
		}
	}
	if found != len(names) {
		return fmt.Errorf("kernel knows %d of the features %v", found, names)
	}
	return e.call("SFEATURES", buf)
}
