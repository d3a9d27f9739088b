What is chosen is given wherever it is kept.
@section(declarations)
@section(give_all)
      give(row, first, bits, first);
@section(place)
    let place = given + (before & 0xffffu) + own_equal_before;
    given += all & 0xffffu;
@section(end)
