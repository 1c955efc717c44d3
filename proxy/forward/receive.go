package forward

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxRead is how much is read at once. No datagram is larger.
const maxRead = 64 << 10

var buffers = sync.Pool{New: func() any { return new([maxRead]byte) }}

// receive waits until read finds something in a socket, and calls use with it. It takes a buffer only when there is
// something: an idle connection costs two goroutines and two file descriptors. io.Copy would keep two pipes for each.
func receive(socket syscall.Conn, read func(fd int, buffer []byte) (int, error), use func([]byte) error) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var buffer *[maxRead]byte
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		buffer = buffers.Get().(*[maxRead]byte)
		for {
			if n, failed = read(int(fd), buffer[:]); !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		if errors.Is(failed, unix.EAGAIN) {
			buffers.Put(buffer)
			buffer = nil
			return false
		}
		return true
	})
	if buffer == nil {
		return err // The socket is closed, or its deadline has passed.
	}
	defer buffers.Put(buffer)
	if failed != nil {
		return failed
	}
	return use(buffer[:n])
}
