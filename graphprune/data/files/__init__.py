"""Reading files of other people: tables, archives, text formats and Planetoid's pickles, guarded."""
