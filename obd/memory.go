package obd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// maxPorts and maxCars bound the file: an adapter that is lent around a depot meets many vans, and the oldest are forgotten.
const maxPorts, maxCars = 16, 64

// memory is what a Car learned, over restarts. The file is this as JSON. Everything in it is tried first and then checked as if it had been
// found by searching, so a file of another van or an old one costs time and nothing else.
type memory struct {
	Auto  string       `json:"auto,omitempty"` // the port that auto took, if its name is a stable one
	Ports []portMemory `json:"ports,omitempty"`
	Cars  []carMemory  `json:"cars,omitempty"` // newest first
	// Retries is how often the parked car was asked without a sign since its last drive; see parkPolicy.
	Retries int `json:"retries,omitempty"`
}

type portMemory struct {
	Port string `json:"port"`
	Baud int    `json:"baud"`
}

// carMemory is one pair of adapter and car.
type carMemory struct {
	Adapter  string `json:"adapter"`       // what ATI answers
	VIN      string `json:"vin,omitempty"` // "" if the car does not tell
	Protocol string `json:"protocol"`      // its number in the ATSP table
	Suffix   proof  `json:"suffix"`        // whether it takes the number of lines to wait for
	Multi    proof  `json:"multi"`         // whether it does several PIDs in one request
}

// A proof is what was seen of an ability: 1 it works, 0 nobody knows, below that for how many connections in a row it has not.
type proof int

// hopeless tells whether it is not worth a try at this connection. One failure may have been noise, and behind the same name, which many
// adapters share, there may be another by now: so after three failures each eighth connection tries again.
func (p proof) hopeless() bool { return p <= -3 && p%8 != 0 }

// after is the proof after one more connection.
func (p proof) after(able bool) proof {
	if able {
		return 1
	}
	return min(p, 0) - 1
}

// recall reads Options.Memory. A file that is not there or not readable is as good as an empty one.
func (c *Car) recall() {
	if c.opt.Memory == "" {
		return
	}
	text, err := os.ReadFile(c.opt.Memory)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		c.opt.Logger.Debug("what was learned of adapter and car is lost", "file", c.opt.Memory, "err", err)
		return
	}
	m.Ports = slices.DeleteFunc(m.Ports, func(p portMemory) bool { return !slices.Contains(probeBauds, p.Baud) })
	m.Cars = slices.DeleteFunc(m.Cars, func(x carMemory) bool {
		_, ok := protocolByNumber(x.Protocol)
		return !ok
	})
	m.Ports, m.Cars = m.Ports[:min(len(m.Ports), maxPorts)], m.Cars[:min(len(m.Cars), maxCars)]
	c.memory = m
	if c.opt.Port == portAuto {
		c.known = m.Auto
	}
}

// rememberedBaud is the speed that worked on a port; 0 if none is known.
func (c *Car) rememberedBaud(port string) int {
	for _, p := range c.memory.Ports {
		if p.Port == port {
			return p.Baud
		}
	}
	return 0
}

// lastCar is the car which the adapter was in last.
func (c *Car) lastCar(adapter string) carMemory {
	i := slices.IndexFunc(c.memory.Cars, func(x carMemory) bool { return x.Adapter == adapter })
	if i < 0 {
		return carMemory{}
	}
	return c.memory.Cars[i]
}

// protocol is that of the car; the zero protocol if it is not known.
func (x carMemory) protocol() protocol {
	p, _ := protocolByNumber(x.Protocol) // recall has kept only those that exist
	return p
}

// rememberedCar is what is known of a pair of adapter and car.
func (c *Car) rememberedCar(v Vehicle) carMemory {
	for _, x := range c.memory.Cars {
		if x.Adapter == v.Adapter && x.VIN == v.VIN {
			return x
		}
	}
	return carMemory{}
}

// remember notes a car that answers, and keeps the file if that is news.
func (c *Car) remember(v Vehicle, l link) {
	st := c.Status()
	m := memory{Auto: c.memory.Auto, Retries: c.memory.Retries, Ports: slices.Clone(c.memory.Ports), Cars: slices.Clone(c.memory.Cars)}
	if st.Baud != 0 && strings.HasPrefix(st.Port, "/") {
		m.Ports = front(m.Ports, portMemory{st.Port, st.Baud}, func(x portMemory) bool { return x.Port == st.Port }, maxPorts)
	}
	// Numbers like that of ttyUSB0 go to whoever is plugged in first.
	if c.opt.Port == portAuto && strings.HasPrefix(st.Port, "/dev/serial/") {
		m.Auto = st.Port
	}
	if p := l.protocol; p.code != 0 {
		same := func(x carMemory) bool { return x.Adapter == v.Adapter && x.VIN == v.VIN }
		x := carMemory{v.Adapter, v.VIN, string(p.code), l.suffixProof, l.multiProof}
		m.Cars = front(m.Cars, x, same, maxCars)
	}
	c.keep(m)
}

// keep makes m the memory, and writes the file if it is news.
func (c *Car) keep(m memory) {
	old := c.memory
	c.memory = m
	if c.opt.Memory == "" || !c.unsaved && m.Auto == old.Auto && m.Retries == old.Retries && slices.Equal(m.Ports, old.Ports) && slices.Equal(m.Cars, old.Cars) {
		return
	}
	if c.opt.Pulse != nil {
		c.opt.Pulse(0) // a disk has no bound
	}
	err := m.save(c.opt.Memory)
	c.pulse()
	if c.unsaved = err != nil; c.unsaved {
		c.opt.Logger.Debug("what was learned of adapter and car is not kept", "err", err)
	}
}

// front puts x first, in the place of those that are the same, and keeps at most n.
func front[T any](list []T, x T, same func(T) bool, n int) []T {
	list = slices.Insert(slices.DeleteFunc(list, same), 0, x)
	return list[:min(len(list), n)]
}

// save replaces the file as a whole. A power cut may cost the news and not the file.
func (m memory) save(path string) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
