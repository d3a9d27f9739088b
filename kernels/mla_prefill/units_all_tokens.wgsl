// Queries attend to all that they see. What is empty is for those that do not.
@section(declarations)
@section(before)
@section(ask)
@section(leave_out)
@section(begins)
// A query that sees any of the split sees the first of its first tile.
begins = first == 0u;
@section(begun)
@section(own_reference)
let own_reference = reference;
