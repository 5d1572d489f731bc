package gps

// What follows opens inner parts to the tests.

// PortsUnder lists the serial ports of a system that the test brings.
var PortsUnder = portsUnder

// NewGpsdReader makes fixes of gpsd's reports without a connection.
var NewGpsdReader = newGpsdReader

// OpenReason says for a person why a device cannot be opened.
var OpenReason = openReason

// OpenDevice opens a serial device of the system.
var OpenDevice = openDevice
