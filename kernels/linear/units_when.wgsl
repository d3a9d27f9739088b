When the next steps are read: each when it has been stored.
@section(together)
@section(each)
        // The last steps read their own again.
        let next_{a} = select(now_{a} + AHEAD * DEPTH, now_{a}, now_{a} + AHEAD * DEPTH >= COLUMNS);
@fill(read)
