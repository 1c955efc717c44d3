package cci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// largestInput is how much input goes into one frame.
const largestInput = 32 << 10

// writeTimeout is for one frame: a cloud that takes none for so long is gone.
const writeTimeout = time.Minute

// execSession is a command that runs, and the stream to it.
type execSession struct {
	conn      *websocket.Conn
	streams   ExecStreams
	keepAlive time.Duration

	// writing guards the connection's one writer.
	writing sync.Mutex
}

// run blocks until the command has ended, the stream is cut or ctx ends.
func (s *execSession) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	// Nobody waits for the answer to a closing frame.
	defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
	defer s.conn.Close()
	defer cancel()
	if s.streams.Stdin != nil {
		go s.sendStdin()
	}
	go s.sendSizes(ctx)
	go s.stayAlive(ctx)
	return s.receive(ctx)
}

// send writes a frame. After a failure the reader fails too, and says so.
func (s *execSession) send(channel byte, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	err := s.conn.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, data...))
	if err != nil {
		_ = s.conn.Close() // It has failed already.
	}
	return err
}

func (s *execSession) sendStdin() {
	buffer := make([]byte, largestInput)
	for {
		n, err := s.streams.Stdin.Read(buffer)
		if n > 0 && s.send(remotecommand.StreamStdIn, buffer[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *execSession) sendSizes(ctx context.Context) {
	for {
		select {
		case size, more := <-s.streams.Resize:
			if !more {
				return
			}
			frame, err := json.Marshal(size)
			if err != nil || s.send(remotecommand.StreamResize, frame) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// stayAlive sends frames of no input: the service cuts a stream on which no frame came for five minutes, and pings are none.
func (s *execSession) stayAlive(ctx context.Context) {
	ticker := time.NewTicker(s.keepAlive)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if s.send(remotecommand.StreamStdIn, nil) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// receive passes on output until the frame comes that says how the command ended.
func (s *execSession) receive(ctx context.Context) error {
	for {
		_, frame, err := s.conn.NextReader()
		if err != nil {
			return noAnswer(ctx, "the stream of the command was cut", err)
		}
		var channel [1]byte
		if _, err := io.ReadFull(frame, channel[:]); err == io.EOF {
			continue // A frame of nothing.
		} else if err != nil {
			return noAnswer(ctx, "the stream of the command was cut", err)
		}
		switch channel[0] {
		case remotecommand.StreamStdOut:
			err = pass(s.streams.Stdout, frame)
		case remotecommand.StreamStdErr:
			err = pass(s.streams.Stderr, frame)
		case remotecommand.StreamErr:
			status, err := io.ReadAll(io.LimitReader(frame, largestAnswer))
			if err != nil {
				return noAnswer(ctx, "the stream of the command was cut", err)
			}
			if len(status) > 0 {
				return decodeEnd(status)
			}
		}
		if err != nil {
			return noAnswer(ctx, "passing on the output of the command", err)
		}
	}
}

func pass(to io.Writer, frame io.Reader) error {
	if to == nil {
		return nil
	}
	_, err := io.Copy(to, frame)
	return err
}

// decodeEnd makes the result of a command: nil for 0.
func decodeEnd(text []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return &Error{Kind: Transient, Message: "decoding how the command ended", cause: err}
	}
	if status.Status == metav1.StatusSuccess {
		return nil
	}
	if status.Reason == remotecommand.NonZeroExitCodeReason && status.Details != nil {
		for _, cause := range status.Details.Causes {
			if code, err := strconv.Atoi(cause.Message); cause.Type == remotecommand.ExitCodeCauseType && err == nil {
				return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
			}
		}
	}
	// Whoever serves the command says these words itself.
	message := strings.TrimPrefix(status.Message, "Internal error occurred: ")
	return &Error{Kind: Permanent, Message: strings.TrimPrefix(message, "error executing command in container: ")}
}
