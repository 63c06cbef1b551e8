package space

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ethtool commands and sizes, include/uapi/linux/ethtool.h.
const (
	ethtoolGSSetInfo = 0x37
	ethtoolGStrings  = 0x1b
	ethtoolSFeatures = 0x3b
	ethSSFeatures    = 4
	ethGStringLen    = 32
)

// Wire names the offloads that let a veth carry superpackets whole, as no
// real wire does. With all of them off, no frame is longer than the MTU.
var Wire = []string{
	"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
	"tx-generic-segmentation", "tx-udp-segmentation", "rx-gro",
}

// Features switches offloads of a link on or off, by the names that
// `ethtool -k` uses. Names that the kernel does not know are left out, for an
// offload that does not exist is already off.
func (s *Space) Features(link string, on bool, names ...string) error {
	err := s.Do(func() error { return setFeatures(link, on, names) })
	if err != nil {
		return fmt.Errorf("%s: %s: set offloads: %w", s.name, link, err)
	}
	return nil
}

func setFeatures(link string, on bool, names []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	known, err := featureNames(fd, link)
	if err != nil {
		return err
	}
	return ethtool(fd, link, featureRequest(known, on, names))
}

// featureRequest builds struct ethtool_sfeatures: cmd, number of 32-bit
// blocks, then for each block the mask of bits meant and their values. All
// words are in the machine's byte order.
func featureRequest(known []string, on bool, names []string) []byte {
	blocks := (len(known) + 31) / 32
	words := make([]uint32, 2+2*blocks)
	words[0], words[1] = ethtoolSFeatures, uint32(blocks)
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	for i, n := range known {
		if !wanted[n] {
			continue
		}
		words[2+i/32*2] |= 1 << (i % 32)
		if on {
			words[2+i/32*2+1] |= 1 << (i % 32)
		}
	}
	var b bytes.Buffer
	for _, w := range words {
		b.Write(binary.NativeEndian.AppendUint32(nil, w))
	}
	return b.Bytes()
}

// featureNames asks the kernel for the names of its features, in bit order.
func featureNames(fd int, link string) ([]string, error) {
	// struct ethtool_sset_info: cmd, reserved, u64 mask, one u32 of data
	info := make([]byte, 24)
	binary.NativeEndian.PutUint32(info, ethtoolGSSetInfo)
	binary.NativeEndian.PutUint64(info[8:], 1<<ethSSFeatures)
	if err := ethtool(fd, link, info); err != nil {
		return nil, err
	}
	n := int(binary.NativeEndian.Uint32(info[16:]))
	// struct ethtool_gstrings: cmd, string set, len, n names of 32 bytes
	req := make([]byte, 12+n*ethGStringLen)
	binary.NativeEndian.PutUint32(req, ethtoolGStrings)
	binary.NativeEndian.PutUint32(req[4:], ethSSFeatures)
	binary.NativeEndian.PutUint32(req[8:], uint32(n))
	if err := ethtool(fd, link, req); err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		name, _, _ := bytes.Cut(req[12+i*ethGStringLen:12+(i+1)*ethGStringLen], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

// ethtool sends one command by ioctl; the kernel answers into req.
func ethtool(fd int, link string, req []byte) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], link)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&req[0])
	ifr.data = unsafe.Pointer(&req[0])
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 {
		return fmt.Errorf("ethtool command %#x: %w", binary.NativeEndian.Uint32(req), errno)
	}
	return nil
}
