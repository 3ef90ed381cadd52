/* The symbols that libfaketime looks up and that glibc does not have. glibc allocates memory for a look-up that fails. jemalloc reads
   the clock while it initialises itself, so libfaketime would look them up then, and jemalloc would wait for itself. Nobody calls them. */
void __ftime(void) {}
void settime(void) {}
void gettime(void) {}
__asm__(".symver settime,timer_settime@GLIBC_2.2");
__asm__(".symver gettime,timer_gettime@GLIBC_2.2");
