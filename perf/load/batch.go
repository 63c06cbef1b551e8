package load

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A message is struct mmsghdr (sendmmsg(2)); Go pads it as C does.
type message struct {
	header unix.Msghdr
	length uint32
}

// A batch is the memory of one sendmmsg or recvmmsg call: message i holds one
// buffer of the batch.
type batch struct {
	messages [batchSize]message
	vectors  [batchSize]unix.Iovec
	size     int // of each buffer, bytes
	memory   []byte
}

// newBatch prepares batchSize buffers of the given size.
func newBatch(size int) *batch {
	b := &batch{size: size, memory: make([]byte, batchSize*size)}
	for i := range b.messages {
		b.vectors[i].Base = &b.payload(i)[0]
		b.vectors[i].SetLen(size)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// payload returns buffer i.
func (b *batch) payload(i int) []byte { return b.memory[i*b.size:][:b.size] }

// receive waits for one datagram and takes what else is there.
func (b *batch) receive(fd int) (int, error) {
	return b.call(unix.SYS_RECVMMSG, fd, unix.MSG_WAITFORONE)
}

// send sends the whole batch or, when fewer messages are taken, its beginning.
func (b *batch) send(fd int) (int, error) { return b.call(unix.SYS_SENDMMSG, fd, 0) }

func (b *batch) call(number uintptr, fd int, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)), batchSize, flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
