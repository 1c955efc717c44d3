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

// state is what a system chooses at its first start, and then keeps.
type state struct {
	// Shape describes the nodes of the cluster.
	Shape Shape `json:"shape"`
	// FirstPort is the first port of the system's block of ports.
	FirstPort int `json:"firstPort"`
	// Tokens are the bearer tokens of the API server's users that are not ServiceAccounts, by user name.
	Tokens map[string]string `json:"tokens"`
	// AccessKey and SecretKey sign the requests to the simulated cloud.
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

func statePath(dir string) string { return filepath.Join(dir, "data", "state.json") }

// Recorded returns the shape of the system in dir. It returns false if there is no system.
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
	recorded.Shape = recorded.Shape.complete()
	return recorded, nil
}

// loadState returns the recorded state of the system. If there is none, it creates and records one.
func (c Config) loadState() (state, error) {
	dir, shape := c.Dir, c.Shape
	recorded, err := readState(dir)
	if err == nil && recorded.Shape != shape {
		return state{}, fmt.Errorf("the system in %s has %s, not %s: to change the shape, run `make down` first",
			dir, recorded.Shape, shape)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return recorded, err
	}
	firstPort, err := claimPorts(dir)
	if err != nil {
		return state{}, err
	}
	created := state{
		Shape: shape, FirstPort: firstPort, Tokens: map[string]string{}, AccessKey: rand.Text(), SecretKey: rand.Text(),
	}
	for _, user := range c.users() {
		created.Tokens[user.name] = rand.Text()
	}
	content, err := json.MarshalIndent(created, "", "  ")
	if err != nil {
		return state{}, fmt.Errorf("encoding the state of the system: %w", err)
	}
	if err := os.WriteFile(statePath(dir), content, 0o600); err != nil {
		return state{}, fmt.Errorf("writing the state of the system: %w", err)
	}
	return created, nil
}

// lock locks the file until the returned function is called or the process ends. It creates the file if it does not
// exist. If another process holds the lock, it blocks with wait, and returns an error without.
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
		err = fmt.Errorf("locking %s, which another process may hold: %w", path, err)
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}
