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

	"github.com/spillway-k8s/spillway/policy"
)

// maxInputSize is the largest input of one frame, in bytes.
const maxInputSize = 32 << 10

// writeTimeout is the time to write one frame, after which the connection counts as broken.
const writeTimeout = time.Minute

// execSession is a running command and the connection to it.
type execSession struct {
	conn      *websocket.Conn
	streams   ExecStreams
	keepAlive time.Duration

	// writing guards the connection, which allows one writer at a time.
	writing sync.Mutex
}

// run blocks until the command ends, the stream breaks or ctx ends.
func (s *execSession) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	// The connection is closed without a closing handshake.
	defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
	defer s.conn.Close()
	defer cancel()
	if s.streams.Stdin != nil {
		go s.sendStdin()
	}
	go s.sendSizes(ctx)
	go s.sendKeepAlives(ctx)
	return s.receive(ctx)
}

// send writes a frame. After an error it closes the connection, so that receive fails and returns the error.
func (s *execSession) send(channel byte, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	err := s.conn.WriteMessage(websocket.BinaryMessage, append([]byte{channel}, data...))
	if err != nil {
		_ = s.conn.Close()
	}
	return err
}

func (s *execSession) sendStdin() {
	buffer := make([]byte, maxInputSize)
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

// sendKeepAlives sends frames of empty input. The service closes a stream after five minutes without a frame, and does
// not count pings.
func (s *execSession) sendKeepAlives(ctx context.Context) {
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

// receive forwards the output until it receives the frame with the result of the command.
func (s *execSession) receive(ctx context.Context) error {
	for {
		_, frame, err := s.conn.NextReader()
		if err != nil {
			return noAnswer(ctx, "the stream of the command broke", err)
		}
		var channel [1]byte
		if _, err := io.ReadFull(frame, channel[:]); err == io.EOF {
			continue // The frame is empty.
		} else if err != nil {
			return noAnswer(ctx, "the stream of the command broke", err)
		}
		switch channel[0] {
		case remotecommand.StreamStdOut:
			err = forward(s.streams.Stdout, frame)
		case remotecommand.StreamStdErr:
			err = forward(s.streams.Stderr, frame)
		case remotecommand.StreamErr:
			status, err := io.ReadAll(io.LimitReader(frame, maxError))
			if err != nil {
				return noAnswer(ctx, "the stream of the command broke", err)
			}
			if len(status) > 0 {
				return decodeResult(status)
			}
		}
		if err != nil {
			return noAnswer(ctx, "forwarding the output of the command", err)
		}
	}
}

// forward copies a frame to a stream, or drops it if the caller does not use the stream.
func forward(to io.Writer, frame io.Reader) error {
	if to == nil {
		return nil
	}
	_, err := io.Copy(to, frame)
	return err
}

// decodeResult returns the result of a command: nil for exit code 0.
func decodeResult(text []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return &Error{Kind: Transient, Message: "decoding the result of the command", cause: err}
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
	// The kubelet API adds these prefixes to the message again.
	message := strings.TrimPrefix(status.Message, "Internal error occurred: ")
	message = strings.TrimPrefix(message, "error executing command in container: ")
	return &Error{Kind: Permanent, Message: policy.Clip(message, policy.MaxMessage)}
}
