"""Purchase history shared by the models of repeat purchases."""
