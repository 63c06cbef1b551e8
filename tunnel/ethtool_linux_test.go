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

// udpSuperpackets is the feature by which a device takes runs whole. Devices in
// software have it since Linux 5.11; before, the kernel cuts runs in front of
// loopback, veth and VXLAN devices.
const udpSuperpackets = "tx-udp-segmentation"

// checksums is the feature by which the sums of packets are left to a network
// card that a veth does not have.
const checksums = "tx-checksum-ip-generic"

// switchOff takes features from a link of the thread's namespace, by the
// ioctl's ETHTOOL_SFEATURES (include/uapi/linux/ethtool.h).
func switchOff(link string, names ...string) error { return setFeatures(link, false, names) }

func setFeatures(link string, on bool, names []string) error {
	const setFeatures = 4
	known, err := linkFeatures(link)
	if err != nil {
		return err
	}
	// struct ethtool_sfeatures: cmd, number of blocks, then for each block the
	// mask of the bits meant and their values
	ne, blocks := binary.NativeEndian, (len(known)+31)/32
	req := make([]byte, 2*setFeatures+8*blocks)
	ne.PutUint32(req, unix.ETHTOOL_SFEATURES)
	ne.PutUint32(req[4:], uint32(blocks))
	for i, name := range known {
		if !slices.Contains(names, name) {
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

// hasFeature says whether a feature of a link is on. A kernel that does not
// know its name does not have it.
func hasFeature(link, name string) (bool, error) {
	known, err := linkFeatures(link)
	i := slices.Index(known, name)
	if err != nil || i < 0 {
		return false, err
	}
	// struct ethtool_gfeatures: cmd, number of blocks, then for each block the
	// words available, requested, active, never_changed
	ne, blocks := binary.NativeEndian, (len(known)+31)/32
	req := make([]byte, 8+16*blocks)
	ne.PutUint32(req, unix.ETHTOOL_GFEATURES)
	ne.PutUint32(req[4:], uint32(blocks))
	if err := ethtool(link, req); err != nil {
		return false, err
	}
	return ne.Uint32(req[8+16*(i/32)+8:])>>(i%32)&1 == 1, nil
}

// keepsRuns says whether the peer's devices pass UDP superpackets on whole.
func (k *kernelPeer) keepsRuns() bool {
	k.t.Helper()
	keeps := true
	for _, dev := range []string{"flannel.1", "wire0"} {
		k.do(func() error {
			has, err := hasFeature(dev, udpSuperpackets)
			keeps = keeps && has
			return err
		})
	}
	return keeps
}

// linkFeatures lists the features that the kernel knows, in the order of their
// bits.
func linkFeatures(link string) (known []string, err error) {
	const getStrings, features, stringLen = 12, 4, 32
	ne := binary.NativeEndian
	// struct ethtool_sset_info: cmd, reserved, u64 mask, one u32 of data
	info := make([]byte, 24)
	ne.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	ne.PutUint64(info[8:], 1<<features)
	if err := ethtool(link, info); err != nil {
		return nil, err
	}
	n := int(ne.Uint32(info[16:]))
	// struct ethtool_gstrings: cmd, string set, len, n names
	names := make([]byte, getStrings+n*stringLen)
	ne.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	ne.PutUint32(names[4:], features)
	ne.PutUint32(names[8:], uint32(n))
	if err := ethtool(link, names); err != nil {
		return nil, err
	}
	for i := range n {
		name, _, _ := bytes.Cut(names[getStrings+i*stringLen:][:stringLen], []byte{0})
		known = append(known, string(name))
	}
	return known, nil
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
