package tunnel

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads lets a veth carry superpackets whole, as no real wire does; without
// them no frame on it is longer than the MTU. The names are ethtool's.
var offloads = []string{
	"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
	"tx-generic-segmentation", "tx-udp-segmentation",
}

// checksums is the feature by which the sums of packets are left to a network
// card that a veth does not have.
const checksums = "tx-checksum-ip-generic"

// switchOff takes features from a link of the thread's namespace, by the
// ioctl's ETHTOOL_SFEATURES (include/uapi/linux/ethtool.h).
func switchOff(link string, names ...string) error { return setFeatures(link, false, names) }

func setFeatures(link string, on bool, names []string) error {
	const setFeatures, getStrings, features, stringLen = 4, 12, 4, 32
	ne := binary.NativeEndian
	// struct ethtool_sset_info: cmd, reserved, u64 mask, one u32 of data
	info := make([]byte, 24)
	ne.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	ne.PutUint64(info[8:], 1<<features)
	if err := ethtool(link, info); err != nil {
		return err
	}
	n := int(ne.Uint32(info[16:]))
	// struct ethtool_gstrings: cmd, string set, len, n names
	known := make([]byte, getStrings+n*stringLen)
	ne.PutUint32(known, unix.ETHTOOL_GSTRINGS)
	ne.PutUint32(known[4:], features)
	ne.PutUint32(known[8:], uint32(n))
	if err := ethtool(link, known); err != nil {
		return err
	}
	// struct ethtool_sfeatures: cmd, number of blocks, then for each block the
	// mask of the bits meant and their values
	blocks := (n + 31) / 32
	req := make([]byte, 2*setFeatures+8*blocks)
	ne.PutUint32(req, unix.ETHTOOL_SFEATURES)
	ne.PutUint32(req[4:], uint32(blocks))
	for i := range n {
		name, _, _ := bytes.Cut(known[getStrings+i*stringLen:][:stringLen], []byte{0})
		if !slices.Contains(names, string(name)) {
			continue
		}
		at := req[2*setFeatures+8*(i/32):]
		ne.PutUint32(at, ne.Uint32(at)|1<<(i%32))
		if on {
			ne.PutUint32(at[4:], ne.Uint32(at[4:])|1<<(i%32))
		}
	}
	return ethtool(link, req)
}

// ethtool makes one request; the kernel answers into req.
func ethtool(link string, req []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], link)
	ifr.data = unsafe.Pointer(&req[0])
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	runtime.KeepAlive(req)
	if e != 0 {
		return e
	}
	return nil
}
