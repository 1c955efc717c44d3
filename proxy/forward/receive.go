package forward

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxRead is how much is read at once. No datagram is larger.
const maxRead = 64 << 10

var buffers = sync.Pool{New: func() any { return new([maxRead]byte) }}

// receive waits until read finds a datagram in a socket, and calls use with it. It takes a buffer only when there is
// one: an idle session costs a goroutine and a file descriptor.
func receive(socket syscall.Conn, read func(fd int, buffer []byte) (int, error), use func([]byte)) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var buffer *[maxRead]byte
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		buffer = buffers.Get().(*[maxRead]byte)
		n, failed = retry(func() (int, error) { return read(int(fd), buffer[:]) })
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
	if failed == nil {
		use(buffer[:n])
	}
	return failed
}

// retry repeats a system call as long as a signal interrupts it.
func retry(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// transfer copies one direction, and passes its end on. It takes a buffer only while it copies, and leaves in the
// kernel what to has no room for: an idle connection, and one whose reader is slow, costs two goroutines and two file
// descriptors. io.Copy would keep two pipes for each.
//
// An end that is closed is not noticed while the other has no room. After a time, from must show that it is there.
func transfer(to, from *net.TCPConn, c check) error {
	source, err := from.SyscallConn()
	if err != nil {
		return err
	}
	sink, err := to.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var done step
		var failed, closed error
		// While it waits for one connection it must not hold the other, which could not be closed then.
		err = source.Read(func(in uintptr) bool {
			closed = sink.Control(func(out uintptr) { done, failed = move(int(out), int(in)) })
			return done != isEmpty || closed != nil
		})
		if err == nil && closed == nil && done == isFull {
			if err = to.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
				return err
			}
			err = sink.Write(func(out uintptr) bool {
				closed = source.Control(func(in uintptr) { done, failed = move(int(out), int(in)) })
				return done != isFull || closed != nil
			})
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.ask(from)
		}
		if err := errors.Join(err, closed, failed); err != nil {
			return err
		}
		if done == isAtEnd {
			return to.CloseWrite()
		}
	}
}

// step is what move has done.
type step uint8

const (
	hasMoved step = iota
	// isEmpty: there is nothing to read now. isFull: there is no room to write. isAtEnd: there will be nothing to read.
	isEmpty
	isFull
	isAtEnd
)

// move copies once from one socket to another, without waiting.
func move(out, in int) (step, error) {
	buffer := buffers.Get().(*[maxRead]byte)
	defer buffers.Put(buffer)
	n, err := retry(func() (int, error) {
		n, _, err := unix.Recvfrom(in, buffer[:], unix.MSG_PEEK)
		return n, err
	})
	switch {
	case errors.Is(err, unix.EAGAIN):
		return isEmpty, nil
	case err != nil:
		return hasMoved, err
	case n == 0:
		return isAtEnd, nil
	}
	n, err = retry(func() (int, error) { return unix.Write(out, buffer[:n]) })
	switch {
	case errors.Is(err, unix.EAGAIN):
		return isFull, nil
	case err != nil:
		return hasMoved, err
	}
	// What was written is there to be taken: with MSG_TRUNC it is not copied again.
	_, err = retry(func() (int, error) {
		n, _, err := unix.Recvfrom(in, buffer[:n], unix.MSG_TRUNC)
		return n, err
	})
	return hasMoved, err
}
