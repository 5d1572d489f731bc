package obd

import (
	"fmt"
	"strconv"
	"strings"
)

// A Formula is an arithmetic expression of an answer's data bytes: A is the first, Z the 26th, AA the 27th and so on; numbers, + - * / and
// ( ). It cannot loop, call or name anything else, so a stranger's formula is safe to run.
type Formula struct {
	text string
	root node
}

// node is one operation. op 0 is a number, 'b' a byte, '-' with a nil left the negative of right.
type node struct {
	op          byte
	number      float64
	index       int
	left, right *node
}

// maxFormula and maxDepth bound what is parsed: the longest formula that is of use has a term for each of 64 bytes.
const maxFormula, maxDepth = 1024, 32

// ParseFormula reads a formula for an answer of width data bytes. Its errors say what is wrong and at which character.
func ParseFormula(text string, width int) (*Formula, error) {
	p := formulaParser{text: text, width: width}
	if len(text) > maxFormula {
		return nil, fmt.Errorf("formula of %d characters: at most %d", len(text), maxFormula)
	}
	root, err := p.sum(0)
	if err == nil && p.peek() != 0 {
		err = p.wrong("want + - * / or the end")
	}
	if err != nil {
		return nil, err
	}
	return &Formula{text: text, root: *root}, nil
}

// String is the text it was made of.
func (f *Formula) String() string { return f.text }

// Of is the value for the data bytes of an answer, at least as many as the width it was parsed for. A division by zero gives an infinity or NaN,
// which no range admits.
func (f *Formula) Of(data []byte) float64 { return f.root.of(data) }

func (n *node) of(data []byte) float64 {
	switch n.op {
	case 0:
		return n.number
	case 'b':
		return float64(data[n.index])
	case '+':
		return n.left.of(data) + n.right.of(data)
	case '*':
		return n.left.of(data) * n.right.of(data)
	case '/':
		return n.left.of(data) / n.right.of(data)
	}
	if n.left == nil {
		return -n.right.of(data)
	}
	return n.left.of(data) - n.right.of(data)
}

type formulaParser struct {
	text  string
	pos   int
	width int
}

// peek is the next character that is no space; 0 at the end.
func (p *formulaParser) peek() byte {
	for p.pos < len(p.text) && p.text[p.pos] == ' ' {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *formulaParser) wrong(what string) error {
	near := p.text[p.pos:]
	if len(near) > 10 {
		near = near[:10]
	}
	if near == "" {
		return fmt.Errorf("formula %q ends too early: %s", p.text, what)
	}
	return fmt.Errorf("formula %q, character %d (%q): %s", p.text, p.pos+1, near, what)
}

func (p *formulaParser) sum(depth int) (*node, error) {
	return p.chain("+-", depth, p.product)
}

func (p *formulaParser) product(depth int) (*node, error) {
	return p.chain("*/", depth, p.factor)
}

// chain reads operands joined by operators of one rank, from left to right.
func (p *formulaParser) chain(operators string, depth int, operand func(int) (*node, error)) (*node, error) {
	left, err := operand(depth)
	for err == nil && p.peek() != 0 && strings.IndexByte(operators, p.peek()) >= 0 {
		op := p.peek()
		p.pos++
		var right *node
		if right, err = operand(depth); err == nil {
			left = &node{op: op, left: left, right: right}
		}
	}
	return left, err
}

func (p *formulaParser) factor(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, p.wrong("too many brackets")
	}
	switch c := p.peek(); {
	case c == '-':
		p.pos++
		right, err := p.factor(depth + 1)
		return &node{op: '-', right: right}, err
	case c == '(':
		p.pos++
		inner, err := p.sum(depth + 1)
		if err == nil && p.peek() != ')' {
			err = p.wrong("want )")
		}
		p.pos++
		return inner, err
	case c >= 'A' && c <= 'Z':
		return p.letter()
	case c >= '0' && c <= '9' || c == '.':
		start := p.pos
		for p.pos < len(p.text) && (p.text[p.pos] >= '0' && p.text[p.pos] <= '9' || p.text[p.pos] == '.') {
			p.pos++
		}
		v, err := strconv.ParseFloat(p.text[start:p.pos], 64)
		if err != nil {
			p.pos = start
			return nil, p.wrong("is not a number")
		}
		return &node{number: v}, nil
	}
	return nil, p.wrong("want a byte (A, B, ...), a number or (")
}

// letter reads a byte's name: A to Z, then AA, AB ... as the columns of a spreadsheet.
func (p *formulaParser) letter() (*node, error) {
	start, index := p.pos, 0
	for p.pos < len(p.text) && p.text[p.pos] >= 'A' && p.text[p.pos] <= 'Z' && p.pos-start < 3 {
		index = index*26 + int(p.text[p.pos]-'A') + 1
		p.pos++
	}
	if index > p.width {
		p.pos = start
		return nil, p.wrong(fmt.Sprintf("the answer has only %d", p.width))
	}
	return &node{op: 'b', index: index - 1}, nil
}
