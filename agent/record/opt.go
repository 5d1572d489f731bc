package record

import (
	"encoding/json"
	"math"
)

// Opt is a value that may be absent. The zero Opt is absent.
type Opt[T any] struct {
	value T
	set   bool
}

// Float is a number that may be absent.
type Float = Opt[float64]

// Some returns a present value.
func Some[T any](v T) Opt[T] { return Opt[T]{value: v, set: true} }

// Number returns v, or absent if v is NaN or infinite.
func Number(v float64) Float {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Float{}
	}
	return Some(v)
}

// Get returns the value, and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.value, o.set }

// IsSet reports whether there is a value.
func (o Opt[T]) IsSet() bool { return o.set }

// UnmarshalJSON reads a value; null is absent.
func (o *Opt[T]) UnmarshalJSON(text []byte) error {
	*o = Opt[T]{}
	if string(text) == "null" {
		return nil
	}
	if err := json.Unmarshal(text, &o.value); err != nil {
		return err
	}
	o.set = true
	return nil
}
