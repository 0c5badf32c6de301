"""Reading files of other people: tables, archives, text formats and pickles, guarded."""
