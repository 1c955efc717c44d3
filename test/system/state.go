package system

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// state is what a system chooses once, at its first start, and keeps.
type state struct {
	// Shape is what the cluster is made of.
	Shape Shape `json:"shape"`
	// FirstPort is the first of the block of ports that belongs to the system.
	FirstPort int `json:"firstPort"`
	// Tokens are the bearer tokens of the users of the API server that are no ServiceAccounts, by user name.
	Tokens map[string]string `json:"tokens"`
	// AccessKey and SecretKey sign the requests to the simulated cloud.
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

func statePath(dir string) string { return filepath.Join(dir, "data", "state.json") }

// Recorded returns the shape of the system that lives in dir, and false if there is none.
func Recorded(dir string) (Shape, bool, error) {
	recorded, err := readState(dir)
	if errors.Is(err, os.ErrNotExist) {
		return Shape{}, false, nil
	}
	return recorded.Shape, err == nil, err
}

func readState(dir string) (state, error) {
	content, err := os.ReadFile(statePath(dir))
	if err != nil {
		return state{}, fmt.Errorf("reading the state of the system: %w", err)
	}
	var recorded state
	if err := json.Unmarshal(content, &recorded); err != nil {
		return state{}, fmt.Errorf("reading the state of the system in %s: %w", statePath(dir), err)
	}
	return recorded, nil
}

// loadState returns the recorded state of the system, or makes and records one.
func (c Config) loadState() (state, error) {
	dir, shape := c.Dir, c.Shape
	recorded, err := readState(dir)
	if err == nil && recorded.Shape != shape {
		return state{}, fmt.Errorf("the system in %s has %s, not %s: that stays until `make down`", dir, recorded.Shape, shape)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return recorded, err
	}
	firstPort, err := claimPorts(dir)
	if err != nil {
		return state{}, err
	}
	made := state{Shape: shape, FirstPort: firstPort, Tokens: map[string]string{}, AccessKey: rand.Text(), SecretKey: rand.Text()}
	for _, user := range c.users() {
		made.Tokens[user.name] = rand.Text()
	}
	content, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return state{}, fmt.Errorf("encoding the state of the system: %w", err)
	}
	if err := os.WriteFile(statePath(dir), content, 0o600); err != nil {
		return state{}, fmt.Errorf("keeping the state of the system: %w", err)
	}
	return made, nil
}

// lock holds the file, which is made if it is missing, until the returned function is called or the process ends. With
// wait it blocks while another process holds it, otherwise that is an error.
func lock(path string, wait bool) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a lock: %w", err)
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(file.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s, which another process may hold: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}
